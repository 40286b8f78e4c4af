"""File restore over HTTP. A download is a write for the audit log: it says who took which file out of which restore point."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, StreamingResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.engines.ports.files import FileEntry, FileEvent
from naos.identity import Identity
from naos.protection.files import archives, putting, reading
from naos.protection.files.errors import FileUnreadable, FolderNeedsArchive
from naos.protection.files.wire import DownloadRequest, FilesWire, FileVolumeWire, FileWire, Format, PutBackRequest

router = APIRouter()

Restorer = Annotated[
    Identity,
    Depends(
        require(
            "backup_iaas_spp_read",
            "backup_iaas_spp_write",
            "compute_iaas_vmware_read",
            "compute_iaas_vmware_management",
        )
    ),
]
_WITH_LOGS = ("xfs", "ntfs")
_NOT_PLAYED = "the machine was running, and the file system's log is not played: its last changes can be missing"
_TYPES = {Format.RAW: "application/octet-stream", Format.TAR: "application/x-tar", Format.ZIP: "application/zip"}


@router.get("/restore_points/{point_id}/volumes")
def list_volumes(point_id: ResourceId, identity: Restorer, services: ServicesOf) -> list[FileVolumeWire]:
    """Partitions, logical volumes and whole disks of a restore point, with their file systems."""
    with services.database.read() as session:
        opened = reading.find(services.world, session, identity.tenant_id, point_id)
    return [
        FileVolumeWire(
            id=found.id,
            name=found.name,
            size=found.size,
            type=found.kind,
            label=found.label,
            readable=not found.problem,
            problem=found.problem,
            note=found.note or (_NOT_PLAYED if opened.crashed and found.kind in _WITH_LOGS else ""),
        )
        for found in opened.volumes()
    ]


@router.get("/restore_points/{point_id}/files")
def list_files(
    point_id: ResourceId,
    identity: Restorer,
    services: ServicesOf,
    volume: Annotated[str, Query(min_length=1, max_length=128, description="Id of the volume.")],
    path: Annotated[str, Query(max_length=65536, description="Of a folder; bytes that are no text as %XX.")] = "/",
    after: Annotated[str, Query(max_length=4096, description="The last name of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> FilesWire:
    """A folder's entries, in the order of their names' bytes."""
    with services.database.read() as session:
        opened = reading.find(services.world, session, identity.tenant_id, point_id)
    page = opened.folder(volume, path, after=after, limit=limit)
    base = path.rstrip("/")
    return FilesWire(
        path=path,
        files=[_shown(entry, base) for entry in page.entries],
        next=page.entries[-1].name if page.more and page.entries else None,
    )


def _shown(entry: FileEntry, base: str) -> FileWire:
    return FileWire(
        name=entry.name,
        path=f"{base}/{entry.name}",
        type=entry.kind,
        size=entry.size,
        modified_at=int(entry.mtime * 1000),
        mode=f"{entry.mode:04o}",
        uid=entry.uid,
        gid=entry.gid,
        target=entry.target,
        note=entry.note,
    )


@router.post(
    "/restore_points/{point_id}/files/download",
    response_class=StreamingResponse,
    responses={200: {"content": {kind: {} for kind in _TYPES.values()}, "description": "The file, or an archive."}},
)
def download(
    point_id: ResourceId, body: DownloadRequest, identity: Restorer, services: ServicesOf
) -> StreamingResponse:
    """Download a file, or a folder as an archive. It ends early, and is then too short, where a file system turns out to be damaged."""
    with services.database.read() as session:
        opened = reading.find(services.world, session, identity.tenant_id, point_id)
    stack = ExitStack()
    try:
        events = stack.enter_context(opened.content(body.volume, body.path, again=body.format is Format.ZIP))
        first = _first(events, body)
        headers = {"Content-Disposition": _disposition(first, body.format)}
        if body.format is Format.RAW:
            headers["Content-Length"] = str(first.size)
            parts = _plain(opened, body.path, events)
        else:
            write = archives.zipped if body.format is Format.ZIP else archives.tar
            parts = write(_chained(first, events), opened.taken_at.timestamp())
    except BaseException:
        stack.close()
        raise
    return StreamingResponse(_closing(stack, parts), media_type=_TYPES[body.format], headers=headers)


@router.post("/restore_points/{point_id}/files/put_back", **ASYNCHRONOUS)
def put_back(
    point_id: ResourceId, body: PutBackRequest, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Write a file or folder of a restore point into a running machine through its agent, and read it back there."""
    return submit(
        services,
        identity,
        key,
        lambda session: putting.plan(session, services.world, identity.tenant_id, point_id, body),
    )


def _first(events: Iterator[FileEvent], body: DownloadRequest) -> FileEntry:
    """Raises FolderNeedsArchive."""
    first = next(events)
    if not isinstance(first, FileEntry) or (body.format is Format.RAW and first.kind != "file"):
        raise FolderNeedsArchive(body.path)
    return first


def _chained(first: FileEntry, events: Iterator[FileEvent]) -> Iterator[FileEvent]:
    yield first
    yield from events


def _plain(opened: reading.Opened, path: str, events: Iterator[FileEvent]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, FileEntry):
            raise FileUnreadable(opened.machine, opened.taken, path, event.note)
        yield from archives.pieces(event)


def _closing(stack: ExitStack, parts: Iterator[bytes]) -> Iterator[bytes]:
    with stack:
        yield from parts


def _disposition(entry: FileEntry, form: Format) -> str:
    name = (entry.name or "files") + ("" if form is Format.RAW else f".{form.value}")
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
