"""Encrypted volumes: their keys alone, and over a whole controller."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform, furnished_in
from typer.testing import CliRunner

from naos.cli.main import app
from naos.engines.errors import EngineError
from naos.settings import settings as read_settings
from naos.storage import luns, volume_keys
from naos.storage.errors import NoVolumeKeys
from naos.storage.master_keys import Keyring
from naos.storage.models import Lun

DATASTORES = f"{COMPUTE}/datastores"
LUN, OTHER = "0b0e1f5c-2f8e-4b55-9f25-7a3b5a6f0d11", "c5f2d9a4-50a8-4d0e-9a55-0d6a7a0be402"


def a_line() -> str:
    return base64.b64encode(os.urandom(32)).decode() + "\n"


@pytest.fixture
def masters(tmp_path: Path) -> Path:
    path = tmp_path / "volume-keys"
    path.write_text(a_line())
    return path


def test_a_key_comes_back_as_long_as_its_master_key_is_there(masters: Path) -> None:
    ring = Keyring(masters)
    wrapped = volume_keys.fresh(volume_keys.newest(ring), LUN)
    key = volume_keys.unwrapped(ring, LUN, wrapped)
    assert len(key) == 32
    assert base64.b64encode(key).decode() not in wrapped
    assert volume_keys.unwrapped(ring, LUN, volume_keys.fresh(volume_keys.newest(ring), LUN)) != key
    older = masters.read_text()
    masters.write_text(a_line() + older)
    assert volume_keys.unwrapped(ring, LUN, wrapped) == key
    master = volume_keys.newest(ring)
    assert master.name != volume_keys.name_of(wrapped), "new keys have the new master key"
    assert base64.b64encode(master.key).decode() not in repr(master)
    anew = volume_keys.rewrapped(ring, master, LUN, wrapped)
    assert volume_keys.name_of(anew) == master.name
    assert volume_keys.rewrapped(ring, master, LUN, anew) == anew
    masters.write_text(masters.read_text().removesuffix(older))
    assert volume_keys.unwrapped(ring, LUN, anew) == key, "it needs the older master key no more"
    with pytest.raises(EngineError, match=f"wrapped by master key {volume_keys.name_of(wrapped)}"):
        volume_keys.unwrapped(ring, LUN, wrapped)


def test_a_wrapped_key_is_its_own_volumes_and_whole(masters: Path) -> None:
    ring = Keyring(masters)
    wrapped = volume_keys.fresh(volume_keys.newest(ring), LUN)
    with pytest.raises(EngineError, match="another volume's"):
        volume_keys.unwrapped(ring, OTHER, wrapped)
    version, name, text = wrapped.split(".", 2)
    changed = bytearray(base64.b64decode(text))
    changed[-1] ^= 1
    with pytest.raises(EngineError, match="changed in the table"):
        volume_keys.unwrapped(ring, LUN, f"{version}.{name}.{base64.b64encode(changed).decode()}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no key in it"),
        ("c2hvcnQ=\n", "key 1 of .* is not 32 bytes"),
        ("not base64!\n", "key 1 of"),
        (base64.b64encode(bytes(32)).decode() + "\nshort\n", "key 2 of"),
        ("kmip://keys.example.org\n", "key 1 of .* is no address of a key"),
        ("kmip://keys.example.org:70000/7\n", "key 1 of .* is no address of a key"),
        ("kmip://keys.example.org/7\n", "NAOS_KMIP_CERTIFICATES is not set"),
    ],
)
def test_a_file_of_no_use_is_told_with_what_to_do(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NoVolumeKeys, match=said):
        volume_keys.newest(Keyring(path))
    with pytest.raises(EngineError, match=said):
        volume_keys.unwrapped(Keyring(path), LUN, "1.name.text")


def test_without_a_setting_there_are_none() -> None:
    with pytest.raises(NoVolumeKeys, match="NAOS_VOLUME_KEYS is not set"):
        volume_keys.newest(Keyring(None))
    with pytest.raises(EngineError, match="NAOS_VOLUME_KEYS is not set"):
        volume_keys.unwrapped(Keyring(None), LUN, "1.name.text")


# ---------------------------------------------------------------------------------------------- over a whole controller


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with furnished_in(tmp_path_factory.mktemp("platform")) as made:
        yield made


def _body(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB, **more}


def test_an_encrypted_volume_has_a_key_and_says_so(platform: Platform) -> None:
    refused = platform.refused("POST", DATASTORES, _body("secret", encrypted=True))
    assert refused["code"] == "storage.no_volume_keys"
    (platform.folder / "volume-keys").write_text(a_line())
    lun_id = platform.done("POST", DATASTORES, _body("secret", encrypted=True))
    assert platform.get(f"{DATASTORES}/{lun_id}")["encrypted"] is True
    world = platform.services.world
    with world.database.read() as session:
        lun = session.scalars(sa.select(Lun).where(Lun.id == lun_id)).one()
        assert lun.encrypted
    _, spec = luns.spec(world, lun_id)
    assert spec.key is not None
    assert len(spec.key()) == 32
    assert "key" not in repr(spec)
    clear = platform.done("POST", DATASTORES, _body("clear"))
    assert platform.get(f"{DATASTORES}/{clear}")["encrypted"] is False
    mixed = platform.refused("POST", f"{COMPUTE}/datastore_clusters", {"name": "both", "datastoreIds": [lun_id, clear]})
    assert mixed["code"] == "storage.cluster_mixed"
    assert "clear in clear, secret encrypted" in str(mixed)


def test_a_machine_lives_on_an_encrypted_volume_and_goes_without_its_key(platform: Platform) -> None:
    keys = platform.folder / "volume-keys"
    keys.write_text(a_line())
    lun_id = platform.done("POST", DATASTORES, _body("guarded", encrypted=True))
    machine_id = platform.deploy("guarded", datastoreId=lun_id)
    keys.unlink()
    platform.remove(machine_id)
    platform.done("DELETE", f"{DATASTORES}/{lun_id}")


def test_all_volumes_come_under_a_new_master_key_as_they_run(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older master key is then needed no more; a volume whose key cannot be had is told, and stays as it is."""
    keys, world = platform.folder / "volume-keys", platform.services.world
    lost, older, newer = a_line(), a_line(), a_line()
    keys.write_text(lost)
    sealed = platform.done("POST", DATASTORES, _body("sealed", encrypted=True))
    keys.write_text(older)
    lun_id = platform.done("POST", DATASTORES, _body("turned", encrypted=True))
    machine_id = platform.deploy("turned", datastoreId=lun_id)
    key = luns.spec(world, lun_id)[1].key
    assert key is not None
    secret = key()
    keys.write_text(newer + older)
    settings = platform.services.world.settings
    monkeypatch.setenv("NAOS_HOME", str(settings.home))
    monkeypatch.setenv("NAOS_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("NAOS_VOLUME_KEYS", str(keys))
    read_settings.cache_clear()

    def run(command: str, code: int) -> list[dict[str, Any]]:
        result = CliRunner().invoke(app, ["controller", command, "--json"])
        assert result.exit_code == code, (result.output, result.exception)
        found: list[dict[str, Any]] = json.loads(result.stdout)
        return found

    try:
        before = [(use["source"], use["volumes"]) for use in run("volume-keys", 0)]
        assert before[:2] == [("line 1", 0), ("line 2", 1)]
        done = {volume["name"]: volume for volume in run("rewrap-volume-keys", 1)}
        assert done["turned"]["now"] == volume_keys.newest(Keyring(keys)).name
        assert "wrapped by master key" in done["sealed"]["trouble"]
        assert done["sealed"]["now"] == done["sealed"]["before"]
        keys.write_text(newer + lost)
        done = {volume["name"]: volume for volume in run("rewrap-volume-keys", 1)}
        assert done["sealed"]["trouble"] == ""
        assert "turned" not in done
        assert done["secret"]["trouble"], "of an earlier test, with a master key that is gone"
        keys.write_text(newer)
        assert [(use["source"], use["trouble"]) for use in run("volume-keys", 0)][:1] == [("line 1", "")]
    finally:
        read_settings.cache_clear()
    key = luns.spec(world, lun_id)[1].key
    assert key is not None
    assert key() == secret
    for action in ("off", "on"):
        platform.done("PATCH", POWER, {"id": machine_id, "powerAction": action})
    platform.remove(machine_id)
    for volume in (lun_id, sealed):
        platform.done("DELETE", f"{DATASTORES}/{volume}")
