"""Where the parts of a volume lie on its array's host, and commands there. Only UUIDs reach file names."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from naos.engines.errors import CommandFailed, Unsupported
from naos.engines.ports import Completed, Host, LunKey
from naos.ids import normal_id

SOCKET_PATH_LIMIT = 107  # bytes: what the kernel takes as a unix socket's path


def check_id(where: str, text: str) -> str:
    """The id itself. Raises Unsupported for what is no UUID in the form that tables hold."""
    if normal_id(text) != text:
        raise Unsupported(where, f"the id {text!r}", "ids are UUIDs in lower case with hyphens")
    return text


@dataclass(frozen=True)
class Place:
    """One volume's folder on the host, and the paths in it.

    `where` names the array for messages, `root` is the array's folder. `group`: the volume group that has the volume's blocks;
    None when they are in a file of the folder. key: of an encrypted volume, for what makes or opens images.
    tls: the folder on the host with the array's certificates; None for an array that answers in clear.
    """

    where: str
    host: Host
    root: str
    lun_id: str
    group: str | None = None
    key: LunKey | None = field(default=None, repr=False, compare=False)
    tls: str | None = None

    def __post_init__(self) -> None:
        check_id(self.where, self.lun_id)
        if len(self.socket.encode()) > SOCKET_PATH_LIMIT:
            raise Unsupported(
                self.where,
                f"the folder {self.root}",
                f"the path of a volume's control socket would have {len(self.socket.encode())} bytes and may have at"
                f" most {SOCKET_PATH_LIMIT}; choose a shorter folder",
            )

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.root, self.lun_id))

    @property
    def image(self) -> str:
        """The file that holds the volume's file system; its presence says that the volume exists."""
        return f"{self.folder}/volume"

    @property
    def unfinished(self) -> str:
        """The image while its file system is being made."""
        return f"{self.folder}/volume.new"

    @property
    def files(self) -> str:
        """The mount point."""
        return f"{self.folder}/files"

    @property
    def socket(self) -> str:
        return f"{self.folder}/qmp"

    @property
    def pid_file(self) -> str:
        return f"{self.folder}/pid"

    @property
    def lock(self) -> str:
        """Held by the daemon as long as it lives, whoever started it."""
        return f"{self.folder}/lock"

    @property
    def disks(self) -> str:
        return f"{self.files}/disks"

    @property
    def templates(self) -> str:
        return f"{self.files}/templates"

    def disk(self, disk_id: str) -> str:
        return f"{self.disks}/{check_id(self.where, disk_id)}.qcow2"

    def disk_unfinished(self, disk_id: str) -> str:
        """The disk's image until it is complete."""
        return f"{self.disks}/{check_id(self.where, disk_id)}.new"

    def disk_reserved(self, disk_id: str) -> str:
        """An empty file: its presence says that the disk's space is reserved and must not be given back."""
        return f"{self.disks}/{check_id(self.where, disk_id)}.reserved"

    def disk_damaged(self, disk_id: str) -> str:
        """An empty file: its presence says that the image's tables were met in disorder, and that it is served no more."""
        return f"{self.disks}/{check_id(self.where, disk_id)}.damaged"

    def disk_scratch(self, disk_id: str, epoch: int) -> str:
        """What is written to a volatile disk in one epoch."""
        return f"{self.disks}/{check_id(self.where, disk_id)}.{epoch}.scratch"

    @property
    def set_aside(self) -> str:
        return f"{self.files}/aside"

    def aside(self, holder: str) -> str:
        """Allocated blocks without content, kept for `holder`."""
        return f"{self.set_aside}/{check_id(self.where, holder)}"

    def template(self, template_id: str) -> str:
        return f"{self.templates}/{check_id(self.where, template_id)}.qcow2"

    def base(self, base_id: str) -> str:
        """A folder: the way to what lies below a disk in a point store."""
        return f"{self.templates}/{check_id(self.where, base_id)}.door"

    def base_key(self, base_id: str) -> str:
        """A folder in the host's memory: the key of that way, while the daemon of an encrypted volume reads it."""
        return f"/dev/shm/naos-{check_id(self.where, base_id)}"  # noqa: S108 - nobody else can know the id beforehand

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 30.0, check: bool = True) -> Completed:
        """Run a command on the host. Raises as `Host.run`."""
        return self.host.run(argv, stdin=stdin, timeout=timeout, check=check)

    def exists(self, path: str) -> bool:
        """Raises CommandFailed for an answer that is neither yes nor no."""
        done = self.run("test", "-e", path, check=False)
        if done.code not in (0, 1):
            raise CommandFailed(self.where, f"looking for {path}", done.stderr.strip() or f"exit code {done.code}")
        return done.code == 0
