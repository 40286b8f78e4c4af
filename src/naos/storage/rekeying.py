"""Bringing the keys of encrypted volumes under the newest master key. Nothing on a volume changes, and nothing that runs notices."""

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa

from naos.database import Database
from naos.engines.errors import EngineError
from naos.storage import volume_keys
from naos.storage.master_keys import Keyring, Master
from naos.storage.models import Lun


@dataclass(frozen=True)
class MasterUse:
    """name: None for a key that cannot be had. source: its line in the file; "" for one that is not there. volumes: how many keys it
    has wrapped. trouble: why it cannot be used, or ""."""

    name: str | None
    source: str
    volumes: int
    trouble: str = ""


@dataclass(frozen=True)
class Rewrapped:
    """A volume whose key another master key had wrapped. trouble: why it still has, or ""."""

    id: str
    name: str
    before: str
    now: str
    trouble: str = ""


def uses(database: Database, keyring: Keyring) -> list[MasterUse]:
    """The master keys in the file's order, then those that volumes name and that are not there. Raises NoVolumeKeys."""
    volume_keys.newest(keyring)
    count = Counter(volume_keys.name_of(wrapped) for _, _, wrapped in _encrypted(database))
    found = []
    for number, master in enumerate(keyring.every(), 1):
        if isinstance(master, Master):
            found.append(MasterUse(master.name, master.source, count.pop(master.name, 0)))
        else:
            found.append(MasterUse(None, f"line {number}", 0, master))
    missing = "volumes name it, and the file does not have it"
    return [*found, *(MasterUse(name, "", many, missing) for name, many in sorted(count.items()))]


def rewrap(database: Database, keyring: Keyring) -> list[Rewrapped]:
    """Wrap what other master keys have wrapped with the newest; what cannot be unwrapped stays as it is, and is told.

    Raises NoVolumeKeys.
    """
    master, done = volume_keys.newest(keyring), []
    for lun_id, name, wrapped in _encrypted(database):
        before = volume_keys.name_of(wrapped)
        if before == master.name:
            continue
        try:
            anew = volume_keys.rewrapped(keyring, master, lun_id, wrapped)
        except EngineError as error:
            done.append(Rewrapped(lun_id, name, before, before, error.reason))
            continue
        with database.write() as session:  # one that was deleted, or wrapped anew by another, meanwhile stays so
            same = sa.update(Lun).where(Lun.id == lun_id, Lun.wrapped_key == wrapped)
            session.execute(same.values(wrapped_key=anew))
        done.append(Rewrapped(lun_id, name, before, master.name))
    return done


def _encrypted(database: Database) -> list[tuple[str, str, str]]:
    query = sa.select(Lun.id, Lun.name, Lun.wrapped_key).where(Lun.wrapped_key.is_not(None)).order_by(Lun.name, Lun.id)
    with database.read() as session:
        return [(lun_id, name, str(wrapped)) for lun_id, name, wrapped in session.execute(query)]
