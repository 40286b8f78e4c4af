"""What runs on the hosts that keep points: Python and QEMU's tools, and nothing else of naos.

These modules are carried there with each call (see `engines.points.carrying`), so they import only each other and what Python 3.11 has.
"""
