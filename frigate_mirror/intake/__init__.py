"""How events become artifacts in the queue."""
