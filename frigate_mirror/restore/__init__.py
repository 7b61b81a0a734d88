"""The only writers of Frigate's tables."""
