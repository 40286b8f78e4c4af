"""A controller in a process of its own, with work that takes a while and writes every step into a file."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from naos.activity import Caller, Engine, Plan, Run, Undo, undo, workflow
from naos.database import Base, Database


@workflow("test.adopted")
def adopted(run: Run, arguments: dict[str, Any]) -> str:
    for number in range(arguments["steps"]):
        run.step(
            f"step {number}", _note, arguments["file"], number, undo=Undo("test.adopted.undo", arguments, "undone")
        )
    return "done"


def _note(file: str, number: int) -> None:
    with Path(file).open("a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()} {number}\n")
    time.sleep(0.2)


@undo("test.adopted.undo")
def _undo(_world: Any, _arguments: dict[str, Any]) -> None:
    return


def main() -> None:
    url, file, submits = sys.argv[1:]
    database = Database(url)
    Base.metadata.create_all(database.engine)
    engine = Engine(database, world=None)
    engine.start()
    if submits == "yes":
        plan = Plan("test.adopted", "Work", {"steps": 40, "file": file})
        engine.submit_now(lambda _session: plan, Caller("tenant", "user"))
    print("ready", flush=True)
    time.sleep(120)


if __name__ == "__main__":
    main()
