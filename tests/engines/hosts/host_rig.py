"""Hosts to try drivers on: an sshd of our own on loopback, and a namespace of the lab."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from naos.engines.hosts.namespace import NamespaceHost
from naos.engines.hosts.ssh import SshHost
from naos.lab import build
from naos.lab.plan import default_plan

# /run/sshd is where sshd puts its unprivileged half; the mount is private to it, the machine's own /run stays untouched
START = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$1" -D -e -f "$2"'


class SshServer:
    """sshd on 127.0.0.1 with its own key, configuration and only user; ended by its process id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binary = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        if self.binary is None:
            pytest.skip("sshd is not installed (package openssh-server)")
        if os.geteuid() != 0:
            pytest.skip("sshd needs root")
        self.process: subprocess.Popen | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for name in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True, timeout=30)
        (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {(folder / 'host_key.pub').read_text()}")
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\nMaxSessions 50\nMaxStartups 100\n"
        )
        self.client_config = folder / "ssh_config"
        self.client_config.write_text(
            f"IdentityFile {folder}/user_key\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
            "StrictHostKeyChecking yes\n"
        )

    def start(self) -> None:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", START, "sshd"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.binary), str(self.folder / "sshd_config")], stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def host(self, *, options=()) -> SshHost:
        target = f"{getpass.getuser()}@127.0.0.1:{self.port}"
        return SshHost("far", target, options=[*options, "-F", str(self.client_config)])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()


@contextlib.contextmanager
def namespace_hosts() -> Iterator[NamespaceHost]:
    """A host of a small lab, which is gone afterwards. Skips without root."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    # unix sockets below it have paths of at most 107 characters, so pytest's own folders are too deep
    with tempfile.TemporaryDirectory(prefix="h", dir="/var/tmp") as folder:
        root = Path(folder, "r")
        plan = default_plan(zones=1, blades=1, name=f"h{os.getpid()}", network="10.217.0.0/16")
        try:
            build.up(root, plan, port=18471)
            yield NamespaceHost("far", root / "hosts/az05-array")
        finally:
            build.down(root)
