"""Bringing modules of naos to a host that has only Python, with each call: nothing is installed there, and nothing stays."""

import json
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from naos.engines.ports import Host

_LOADER = """
import json, sys, types
carried = json.loads(sys.stdin.read())
for name, text in carried["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
    exec(compile(text, name, "exec"), module.__dict__)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
sys.modules[carried["main"]].main(carried["request"])
"""


@cache
def _texts(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and texts, each after the packages that it is in, which come empty."""
    packages = {name.rpartition(".")[0] for name in names}
    empty = {".".join(package.split(".")[: end + 1]) for package in packages for end in range(package.count(".") + 1)}
    texts = [(name, "") for name in sorted(empty)]
    for name in names:
        file = import_module(name).__file__
        assert file is not None  # noqa: S101 - for the type checker
        texts.append((name, Path(file).read_text(encoding="utf-8")))
    return texts


def call(host: Host, names: tuple[str, ...], request: dict[str, Any], *, timeout: float) -> Any:
    """What the `main` of the last of these modules prints for the request, which must be JSON. `names`: in an order in which each
    finds those that it imports. Raises as `Host.run`."""
    carried = {"modules": _texts(names), "main": names[-1], "request": request}
    done = host.run(["python3", "-I", "-S", "-c", _LOADER], stdin=json.dumps(carried).encode(), timeout=timeout)
    return json.loads(done.stdout)
