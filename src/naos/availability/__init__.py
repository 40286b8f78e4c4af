"""High availability: who is lost, how that is known, and how machines come back."""
