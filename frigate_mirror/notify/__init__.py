"""Notices to the owner: what is told when, and how it is kept and sent."""
