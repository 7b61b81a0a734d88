"""What the command `check` and the set-up look at, a file for each subject."""
