"""The marketplace: machine images that the platform offers to every tenant."""
