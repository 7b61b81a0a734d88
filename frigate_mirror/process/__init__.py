"""The child process, its parent, signals."""
