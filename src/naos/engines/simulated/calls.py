"""What every call of a simulated engine passes: an injected fault, the engine's being there, one transaction."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from naos.engines import errors
from naos.engines.errors import EngineError, Unreachable, Unsupported
from naos.engines.simulated.store import Db, Store
from naos.ids import normal_id


@dataclass(frozen=True)
class _Fault:
    error: EngineError
    late: bool


class SimulatedEngine:
    """A named engine of the simulated world. `port`: the lower-case name of its port, as faults name it."""

    port = ""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self._store = store

    @contextmanager
    def _call(self, method: str, *, in_band: bool = True) -> Iterator[Db]:
        """One call of the port, as one transaction. in_band: it needs the engine to have power and a way to it.

        Raises what `Faults.fail_next` left for this method: an early one before anything is changed, a late one after.
        """
        with self._store.transaction() as db:
            fault = self._fault(db, method)
            if fault is None or fault.late:
                if in_band:
                    self._require_contact(db, method)
                yield db
        if fault is not None:
            raise fault.error

    def _fault(self, db: Db, method: str) -> _Fault | None:
        query = "SELECT * FROM faults WHERE method = ? AND (engine IS NULL OR engine = ?) ORDER BY number LIMIT 1"
        found = db.execute(query, (f"{self.port}.{method}", self.name)).fetchone()
        if found is None:
            return None
        db.execute("DELETE FROM faults WHERE number = ?", (found["number"],))
        return _Fault(decode_error(found["error"]), late=bool(found["late"]))

    def _require_contact(self, db: Db, method: str) -> None:
        row = db.execute("SELECT powered, reachable FROM engines WHERE name = ?", (self.name,)).fetchone()
        if not row["powered"]:
            raise Unreachable(self.name, method, "its power is off")
        if not row["reachable"]:
            raise Unreachable(self.name, method, "it is cut off")


def checked_id(where: str, text: str) -> str:
    """The id itself. Raises Unsupported for what is no UUID in the form that tables hold, as real drivers do."""
    if normal_id(text) != text:
        raise Unsupported(where, f"the id {text!r}", "ids are UUIDs in lower case with hyphens")
    return text


def encode_error(error: EngineError) -> str:
    """An error as text. Raises ValueError for a class that `engines.errors` does not have."""
    kind = type(error).__name__
    if getattr(errors, kind, None) is not type(error):
        raise ValueError(f"{kind} is no class of engines.errors")
    return json.dumps([kind, error.details()])


def decode_error(text: str) -> EngineError:
    kind, details = json.loads(text)
    error: EngineError = getattr(errors, kind)(**details)
    return error
