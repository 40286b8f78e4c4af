"""Debian packages as files: fetched with the host's own apt sources and unpacked into a folder, never installed."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from naos.catalogue.images import commands
from naos.catalogue.images.errors import PackagesUnavailable, ToolFailed

_URI = re.compile(r"^'[^']*' (?P<file>\S+) (?P<size>\d+) (?P<hash>\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """One package file: its name as apt keeps it, bytes, and hash as the signed index has it (``SHA256:...``)."""

    file: str
    size: int
    hash: str

    @property
    def name(self) -> str:
        return self.file.split("_", 1)[0]


def candidates(names: Sequence[str]) -> list[Package]:
    """The versions that the host's apt would install of each package. Raises PackagesUnavailable."""
    listed = " ".join(names)
    try:
        output = commands.run(["apt-get", "download", "--print-uris", "-qq", *names], timeout=60)
    except ToolFailed as error:
        raise PackagesUnavailable(listed, error.reason) from error
    found = [Package(match["file"], int(match["size"]), match["hash"]) for match in _URI.finditer(output)]
    missing = set(names) - {package.name for package in found}
    if missing:
        raise PackagesUnavailable(" ".join(sorted(missing)), "apt's index does not list them")
    return sorted(found, key=lambda package: package.file)


def dependency(name: str, pattern: str) -> str:
    """The first package that `name` depends on and whose name matches, as linux-image-cloud-amd64 leads to the newest
    kernel.

    Raises PackagesUnavailable.
    """
    try:
        text = commands.run(["apt-cache", "show", "--no-all-versions", name], timeout=60)
    except ToolFailed as error:
        raise PackagesUnavailable(name, error.reason) from error
    line = re.search(r"^Depends: (.*)$", text, re.MULTILINE)
    for item in line[1].split(",") if line else []:
        wanted = item.split()[0]
        if re.fullmatch(pattern, wanted):
            return wanted
    raise PackagesUnavailable(name, f"it depends on nothing like {pattern}")


def fetch(wanted: Sequence[Package], folder: Path, progress: Callable[[float], None] = lambda _share: None) -> None:
    """Have every package in `folder`, which keeps them for the next call. apt verifies signatures and hashes.

    progress: share of the bytes that is there. Raises PackagesUnavailable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(package.size for package in wanted) or 1, 0
    for package in wanted:
        if not _intact(folder / package.file, package):
            _download(package, folder)
        done += package.size
        progress(done / total)


def _download(package: Package, folder: Path) -> None:
    # apt names the file it writes, so it writes into a folder of its own and only a verified file reaches the cache.
    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as place:
        version = package.file.split("_")[1].replace("%3a", ":")
        argv = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", f"{package.name}={version}"]
        try:
            commands.run(argv, timeout=600, cwd=Path(place))
        except ToolFailed as error:
            raise PackagesUnavailable(package.name, error.reason) from error
        fetched = Path(place) / package.file
        if not _intact(fetched, package):
            raise PackagesUnavailable(package.name, "what was fetched is not what apt's index describes")
        fetched.rename(folder / package.file)


def _intact(file: Path, package: Package) -> bool:
    if not file.is_file() or file.stat().st_size != package.size:
        return False
    algorithm, _, expected = package.hash.partition(":")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm.lower()).hexdigest() == expected


def unpack(wanted: Sequence[Package], folder: Path, target: Path) -> None:
    """Unpack the packages' files (no maintainer script is run) into `target`, which is made anew."""
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for package in wanted:
        commands.run(["dpkg-deb", "-x", str(folder / package.file), str(target)], timeout=300)
