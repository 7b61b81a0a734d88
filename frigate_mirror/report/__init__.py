"""What the owner sees: the status file, its health, the statistics line."""
