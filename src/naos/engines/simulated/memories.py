"""The memory of simulated guests: which disks it knows, and what the guest has printed since its start, which is all that it does.

Saved on a blade it is a file of the blade; on an array, where simulated disks hold nothing, a file of the world beside the hosts.
"""

import hashlib
import json
from pathlib import Path

from naos.engines.errors import EngineError, Missing, NoSpace
from naos.engines.ports import NbdAddress, PowerState
from naos.engines.simulated import definitions, guests, running
from naos.engines.simulated.host import place_of
from naos.engines.simulated.running import Domain
from naos.engines.simulated.store import Db

FOLDER = "/var/lib/libvirt/naos/memory"


def keep(folder: Path, domain: Domain, memory_id: str, room: int) -> int:
    """As large as the guest's memory by what it says; the file itself is small. Raises NoSpace."""
    if domain.memory > room:
        raise NoSpace(domain.blade, f"memory {memory_id}", f"{domain.memory} bytes are needed, {room} were set aside")
    disks = sorted(disk.id for disk in definitions.disks(domain.live or ""))
    text = json.dumps({"disks": disks, "console": domain.console, "size": domain.memory})
    place = _here(folder, domain.blade, memory_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return domain.memory


def send(db: Db, folder: Path, blade: str, memory_id: str, target: NbdAddress) -> str:
    """Its checksum. Raises Missing, EngineError when the export does not answer."""
    text = _read(folder, blade, memory_id)
    _check_answers(db, blade, memory_id, target)
    place = _there(folder, target)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return _sum(text)


def fetch(db: Db, folder: Path, blade: str, memory_id: str, source: NbdAddress, size: int, checksum: str) -> None:
    """Raises EngineError when the export does not answer, or does not hold that."""
    _check_answers(db, blade, memory_id, source)
    kept = _there(folder, source)
    text = kept.read_text(encoding="utf-8") if kept.is_file() else ""
    if not text or json.loads(text)["size"] != size:
        raise EngineError(blade, f"fetching memory {memory_id}", f"{source.name} does not hold {size} bytes of it")
    if checksum and _sum(text) != checksum:
        raise EngineError(
            blade, f"fetching memory {memory_id}", f"it is damaged: its SHA-256 is not {checksum} any more"
        )
    place = _here(folder, blade, memory_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")


def restore(db: Db, folder: Path, domain: Domain, memory_id: str) -> None:
    """Start it paused, as it was. Raises Missing, EngineError for other disks than it knows, and what a start raises."""
    saved = json.loads(_read(folder, domain.blade, memory_id))
    if saved["disks"] != sorted(disk.id for disk in definitions.disks(domain.xml)):
        raise EngineError(domain.blade, f"restoring domain {domain.id}", "its disks are others than it knows")
    running.launch(db, domain, folder)
    guests.set_state(db, domain.blade, domain.id, PowerState.PAUSED)
    values = (saved["console"], domain.blade, domain.id)
    db.execute("UPDATE domains SET console = ? WHERE blade = ? AND id = ?", values)


def drop(folder: Path, blade: str, memory_id: str) -> None:
    _here(folder, blade, memory_id).unlink(missing_ok=True)


def _here(folder: Path, blade: str, memory_id: str) -> Path:
    return place_of(folder, blade, f"{FOLDER}/{memory_id}.memory")


def _there(folder: Path, address: NbdAddress) -> Path:
    return folder / "memories" / address.name.rpartition(".")[0]


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(folder: Path, blade: str, memory_id: str) -> str:
    place = _here(folder, blade, memory_id)
    if not place.is_file():
        raise Missing(blade, f"memory {memory_id}", "it is not on this blade")
    return place.read_text(encoding="utf-8")


def _check_answers(db: Db, blade: str, memory_id: str, address: NbdAddress) -> None:
    reason = guests.refused(db, address.host, address.port, address.name)
    if reason is not None:
        raise EngineError(blade, f"carrying memory {memory_id}", reason)
