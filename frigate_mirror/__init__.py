"""The core of the mirror: everything that has no edge.

Knows nothing of boto3, of Frigate's Python code, or of the three top-level edges
(`frigate_s3_patcher`, `s3`, `s3_snapshot_mirror`); they import this package, never the other
way round.
"""

__version__ = "0.1.0"
