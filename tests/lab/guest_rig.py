"""One QEMU process with a guest: its serial console, monitor, agent, and a loopback port that leads to its SSH."""

import json
import os
import re
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

MAC = "52:54:00:12:34:56"
ADDRESS = "10.0.2.15"  # what QEMU's own small network has behind its port
_SSH_OPTIONS = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")


class Guest:
    """A running machine; ends with `close`, whatever its state."""

    def __init__(self, folder: Path, arguments: list[str], *, memory: str = "192", deadline: float = 60.0):
        self.deadline = deadline
        self.folder = folder
        self.console = ""
        self._stack = ExitStack()
        channel = f"socket,id={{0}},path={folder}/{{0}}.sock,server=on,wait=off"
        command = [
            *(
                "qemu-system-x86_64",
                "-machine",
                "pc,accel=tcg",
                "-cpu",
                "max",
                "-m",
                memory,
                "-nodefaults",
                "-display",
                "none",
            ),
            *("-no-user-config", "-no-reboot", "-qmp", f"unix:{folder}/qmp.sock,server=on,wait=off"),
            *("-chardev", f"socket,id=serial,path={folder}/serial.sock,server=on,wait=on", "-serial", "chardev:serial"),
            *("-device", "virtio-serial", "-chardev", channel.format("agent")),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-netdev", f"user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-{ADDRESS}:22"),
            *("-device", f"virtio-net-pci,netdev=net0,mac={MAC}"),
            *arguments,
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=(folder / "qemu.err").open("wb"))
        self._stack.callback(self._end)
        try:
            self._serial = self._connect("serial")
            self._monitor = self._lines(self._connect("qmp"))
            self._answer(self._monitor, "QMP")
            self.qmp("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stack.close()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        for name in ("serial", "qmp", "agent"):
            (self.folder / f"{name}.sock").unlink(missing_ok=True)

    def _connect(self, name: str) -> socket.socket:
        connection = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(self.deadline)
        limit = time.monotonic() + self.deadline
        while True:
            try:
                connection.connect(str(self.folder / f"{name}.sock"))
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, (self.folder / "qemu.err").read_text()
                assert time.monotonic() < limit
                time.sleep(0.02)
            else:
                return connection

    def _lines(self, connection: socket.socket):
        return self._stack.enter_context(connection.makefile("rwb"))

    def _answer(self, stream, wanted: str):
        while True:
            line = stream.readline()
            assert line, f"the channel closed before {wanted!r} came"
            message = json.loads(line.lstrip(b"\xff"))
            assert "error" not in message, message["error"]
            if wanted in message:
                return message[wanted]

    def _ask(self, stream, command: str, arguments: dict):
        stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        stream.flush()
        return self._answer(stream, "return")

    def qmp(self, command: str, **arguments):
        return self._ask(self._monitor, command, {key.replace("_", "-"): value for key, value in arguments.items()})

    @contextmanager
    def agent(self):
        """A function that asks the guest's agent."""
        connection = self._connect("agent")
        with connection, connection.makefile("rwb") as stream:
            yield lambda command, **arguments: self._ask(stream, command, arguments)

    # ------------------------------------------------------------------------------------------------------- console

    def expect(self, pattern: str) -> re.Match[str]:
        """Read the console until the pattern comes; what was read up to its end is used up."""
        limit = time.monotonic() + self.deadline
        while not (found := re.search(pattern, self.console)):
            self._serial.settimeout(max(limit - time.monotonic(), 0.01))
            try:
                more = self._serial.recv(65536)
            except TimeoutError:
                more = b""
            assert more, f"{pattern!r} did not come on the console, which said:\n{self.console}"
            self.console += more.decode(errors="replace").replace("\r", "")
        self.console = self.console[found.end() :]
        return found

    def type(self, command: str) -> str:
        """Run a command in the console's shell and return what it printed."""
        # The typed line is echoed; only what it prints has the mark in one piece.
        self._serial.sendall(f"echo BEG''IN; {command}; echo E''ND $?\n".encode())
        return self.expect(r"BEGIN\n((?s:.*?))END \d+\n")[1]

    def log_in(self, user: str, password: str) -> None:
        self._serial.sendall(b"\n")
        self.expect("login: ")
        self._serial.sendall(f"{user}\n".encode())
        self.expect("Password: ")
        self._serial.sendall(f"{password}\n".encode())
        self.expect(r"\$ ")

    def expect_off(self) -> None:
        """Wait until the machine is off, as its own doing."""
        self.process.wait(self.deadline)
        assert self.process.returncode == 0

    # ----------------------------------------------------------------------------------------------------------- SSH

    def ssh(self, key: Path, command: str, *, user: str = "root") -> subprocess.CompletedProcess[str]:
        return self._ssh(["IdentitiesOnly=yes", "BatchMode=yes", f"IdentityFile={key}"], user, command, {})

    def ssh_with_password(self, password: str, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        asker = folder / "asker"
        asker.write_text('#!/bin/sh\necho "$GUEST_PASSWORD"\n')
        asker.chmod(0o700)
        options = ["PubkeyAuthentication=no", "NumberOfPasswordPrompts=1"]
        answers = {"SSH_ASKPASS": str(asker), "SSH_ASKPASS_REQUIRE": "force", "GUEST_PASSWORD": password}
        return self._ssh(options, "root", command, answers)

    def _ssh(
        self, options: list[str], user: str, command: str, extra: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        listing = self.qmp("human-monitor-command", command_line="info usernet")
        port = re.search(r"127\.0\.0\.1\s+(\d+)", listing)[1]
        words = [word for option in (*_SSH_OPTIONS, *options) for word in ("-o", option)]
        argv = ["ssh", "-F", "/dev/null", "-q", "-p", port, *words, f"{user}@127.0.0.1", command]
        environment = {**os.environ, **extra}
        return subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            timeout=self.deadline,
            env=environment,
            stdin=subprocess.DEVNULL,
        )


def disk(path: Path) -> list[str]:
    return [
        "-drive",
        f"file={path},if=none,id=disk0,format=qcow2,cache=unsafe",
        "-device",
        "virtio-blk-pci,id=disk0,drive=disk0",
    ]


def cdrom(path: Path) -> list[str]:
    return ["-drive", f"file={path},media=cdrom,format=raw,readonly=on"]
