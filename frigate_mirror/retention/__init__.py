"""Retention: deletes at the destination what its owner does not want to keep any longer."""
