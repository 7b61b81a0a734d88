"""A stand-in for Frigate: the shapes that the mirror relies on, and nothing else of it."""
