"""What runs on a vault's host: Python's own library alone, and nothing that is installed.

Every byte that is read here was written by a guest: lengths and places are checked before they are used, and loops have an end.
"""
