"""Which operation answers a path, found by the path's words instead of by trying one route after the other.

The routes are several hundred, and a framework that tries them in turn spends more on that than on a small read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from naos.api.paths import PREFIX


@dataclass
class _Node:
    """words: by the next part of the path; any: where a parameter stands; routes: whose path ends here."""

    words: "dict[str, _Node]" = field(default_factory=dict)
    any: "_Node | None" = None
    routes: list[APIRoute] = field(default_factory=list)


class Directory:
    """The operations of routers. A route whose parameter takes several words (`{name:path}`) is left to the framework."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._root = _Node()
        for router in routers:
            for route in _operations(router.routes):
                self._add(route)

    def _add(self, route: APIRoute) -> None:
        if ":" in route.path:
            return
        node = self._root
        for word in route.path.split("/"):
            if "{" in word:
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.words.setdefault(word, _Node())
        node.routes.append(route)

    def find(self, path: str) -> Iterator[APIRoute]:
        """Whose path may be this one; plain words come before parameters."""
        nodes = [self._root]
        for word in path.split("/"):
            nodes = [step for node in nodes for step in (node.words.get(word), node.any) if step is not None]
        for node in nodes:
            yield from node.routes


def _operations(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route


def dispatched(framework: ASGIApp, directory: Directory) -> ASGIApp:
    """Operations are called at once; everything else, 404 and 405 too, is the framework's."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root, path = scope.get("root_path", ""), scope["path"]
            path = path.removeprefix(root)
            if path.startswith(f"{PREFIX}/"):
                scope["root_path"], path = root + PREFIX, path.removeprefix(PREFIX)
            for route in directory.find(path):
                match, matched = route.matches(scope)
                if match == Match.FULL:
                    scope.update(matched)
                    await route.handle(scope, receive, send)
                    return
            scope["root_path"] = root
        await framework(scope, receive, send)

    return call
