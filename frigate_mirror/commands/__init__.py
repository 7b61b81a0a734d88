"""The commands, for people."""
