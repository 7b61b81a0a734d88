"""All that we know of Frigate: its database, and the files of an event."""
