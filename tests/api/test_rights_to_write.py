"""Who may only look changes nothing: over every route of every area."""

from api_platform import Platform

from naos.api.app import requirements

SAFE = {"GET", "HEAD", "OPTIONS", "WEBSOCKET"}


def test_no_write_is_open_to_who_may_only_read(platform: Platform) -> None:
    """Each route that changes something wants a permission beyond those that read; no combination of reading is enough."""
    seen = 0
    for method, path, groups in requirements(platform.app):
        if method in SAFE or not groups:
            continue
        seen += 1
        assert any(not name.endswith("_read") for group in groups for name in group), (method, path, groups)
        assert all(len(group) == 1 or not all(name.endswith("_read") for name in group) for group in groups), path
    assert seen > 100
