"""Uploads: threads, commits, bandwidth, outages, checks."""
