"""The settings: their parts, the variables that give them, and the parsers of their values."""
