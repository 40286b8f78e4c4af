"""Replication of volumes: every disk of a volume, point after point, on a volume of the same class and size in another zone."""
