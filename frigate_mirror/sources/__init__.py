"""Sources: who says that a subject may have files now."""
