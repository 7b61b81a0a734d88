"""A stand-in for Frigate. It has the classes and signatures that the mirror relies on."""
