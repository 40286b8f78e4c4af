"""Machines on the wire."""

from naos.ids import ResourceId
from naos.names import Name
from naos.wire import Request, Wire


class Endpoint(Wire):
    """`kind` vnc: host and port on the blade's own network; `kind` serial: a WebSocket path of this API."""

    kind: str
    host: str
    port: int
    path: str


class Renaming(Request):
    id: ResourceId
    name: Name
