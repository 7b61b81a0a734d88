"""The package of the mirror. The modules beside it (`frigate_s3_patcher`, `s3`,
`s3_snapshot_mirror`) are the hook, the S3 sink and the command line.

CONTRIBUTING.md says what each folder is for.
"""

__version__ = "0.2.0"
