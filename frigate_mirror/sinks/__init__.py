"""Destinations: the protocol, and what the S3 sink is made of."""
