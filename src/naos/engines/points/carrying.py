"""Bringing modules of naos to a host that has only Python, with each call: nothing is installed there, and nothing stays."""

import base64
import json
import marshal
from functools import cache
from importlib import import_module
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from naos.engines.ports import Host

_LOADER = """
import _frozen_importlib_external, json, sys, types
carried = json.loads(sys.stdin.read())
same = carried["bytecode"] == _frozen_importlib_external.MAGIC_NUMBER.hex()
for name, text, compiled in carried["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
    if same:
        import binascii, marshal
        code = marshal.loads(binascii.a2b_base64(compiled))
    else:
        code = compile(text, name, "exec")
    exec(code, module.__dict__)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
sys.modules[carried["main"]].main(carried["request"])
"""
"""Compiling takes as long as all the rest of a short call: a host whose Python has this one's
bytecode, as all of one minor version have, is spared it."""


@cache
def _modules(names: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Names, texts, and what these compile to; each after the packages that it is in, which come empty."""
    packages = {name.rpartition(".")[0] for name in names}
    empty = {".".join(package.split(".")[: end + 1]) for package in packages for end in range(package.count(".") + 1)}
    found = [(name, "") for name in sorted(empty)]
    for name in names:
        file = import_module(name).__file__
        assert file is not None  # noqa: S101 - for the type checker
        found.append((name, Path(file).read_text(encoding="utf-8")))
    return [(name, text, _compiled(name, text)) for name, text in found]


def _compiled(name: str, text: str) -> str:
    return base64.b64encode(marshal.dumps(compile(text, name, "exec"))).decode()


def call(host: Host, names: tuple[str, ...], request: dict[str, Any], *, timeout: float) -> Any:
    """What the `main` of the last of these modules prints for the request, which must be JSON. `names`: in an order in which each
    finds those that it imports. Raises as `Host.run`."""
    carried = {"bytecode": MAGIC_NUMBER.hex(), "modules": _modules(names), "main": names[-1], "request": request}
    done = host.run(["python3", "-I", "-S", "-c", _LOADER], stdin=json.dumps(carried).encode(), timeout=timeout)
    return json.loads(done.stdout)
