"""The child process: its life, its recurring tasks, what it asks of the operating system."""
