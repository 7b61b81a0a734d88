"""What the owner sees: status and health."""
