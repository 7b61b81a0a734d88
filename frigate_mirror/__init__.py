"""The mirror. The modules at top level (`frigate_s3_patcher`, `s3`, `s3_snapshot_mirror`) use it.

CONTRIBUTING.md says what each folder is for.
"""

__version__ = "0.1.0"
