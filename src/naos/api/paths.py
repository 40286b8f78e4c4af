"""Every route answers at `/` and under `/api`; this is the one place that knows."""

PREFIX = "/api"


def bare(path: str) -> str:
    """The path without the optional prefix."""
    return path.removeprefix(PREFIX) if path.startswith(f"{PREFIX}/") else path
