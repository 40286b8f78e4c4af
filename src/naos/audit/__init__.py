"""The audit log: who asked for which write, from where, with which token, and what became of it."""
