"""The ledger: queue, journal and dead letters, and where they are kept."""
