"""Turns files of events into queued artifacts, and sweeps for those that nobody offered."""
