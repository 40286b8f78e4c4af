"""Protection: backup policies, what they are assigned to, and their jobs."""
