"""The errors of a run of the retention.

RetentionError
├── Refused    the run would delete too much, or something is wrong: it deletes nothing
└── Stopped    the process is to end: the next run goes on
"""

from __future__ import annotations


class RetentionError(Exception):
    """A run could not be made or finished. The message says what, why and what to do."""


class Refused(RetentionError):
    """A run deletes nothing, because deleting might be a mistake."""


class Stopped(RetentionError):
    """The process is to end."""
