"""Whether a server of NBD answers, as a host sees it."""

from naos.engines.ports import Host

PATIENCE = 3.0  # seconds
_LOOK = 'exec 3<> "/dev/tcp/$0/$1" && head -c 8 <&3'
_MAGIC = "NBDMAGIC"
"""What every server says first, encrypted or not; one that stands still does not."""


def answers(host: Host, address: str, port: int) -> bool:
    argv = ("timeout", f"{PATIENCE:g}", "bash", "-c", _LOOK, address, str(port))
    return host.run(argv, check=False, timeout=PATIENCE + 10).stdout == _MAGIC
