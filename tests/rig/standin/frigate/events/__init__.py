from pathlib import Path

from frigate.variant import SHAPE

if SHAPE == "old":  # Frigate up to 0.15 has a module `external` here
    __path__.append(str(Path(__file__).parents[2] / "older"))
