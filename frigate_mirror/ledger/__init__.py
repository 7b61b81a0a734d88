"""The ledger: queue, journal and dead letters; its folders, lock, state files and repair."""
