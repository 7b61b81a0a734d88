"""The settings: one frozen object, and the parsers of its values."""
