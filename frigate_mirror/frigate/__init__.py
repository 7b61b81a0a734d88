"""All that the mirror knows of Frigate: its database, and the files of an event."""
