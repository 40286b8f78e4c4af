"""Who wrote what, from where and with which token: an append-only log whose rows are chained by their hashes."""
