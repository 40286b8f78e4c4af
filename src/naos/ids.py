"""Ids as people and programs send them."""

import uuid


def normal_id(text: str) -> str | None:
    """The id in the form that tables hold (lower case, hyphens), or None for what is no UUID."""
    try:
        return str(uuid.UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None
