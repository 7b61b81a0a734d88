"""Uploading: threads, commits, bandwidth, outages, pauses."""
