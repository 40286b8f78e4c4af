"""Notices: what went wrong in backup, told by mail and to web addresses."""
