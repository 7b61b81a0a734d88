"""Destinations: the protocol, and the parts of the S3 sink."""
