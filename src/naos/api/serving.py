"""The controller's HTTP server."""

import os
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

GRACE_SECONDS = 10


class Server(uvicorn.Server):
    """Tells answers that have no end of their own that the controller stops (`app.state.stopping`)."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if isinstance(self.config.app, FastAPI):
            self.config.app.state.stopping = True
        super().handle_exit(sig, frame)


def serve(app: FastAPI, *, fd: int | None, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then let running calls finish for at most `GRACE_SECONDS`.

    fd: a listening socket inherited from whoever started this process (then `host` and `port` are not used), so that a
    restart refuses no connection.
    """
    server = Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            # The address of the connection is what rate limits count; a header that anyone can send is not.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    if fd is None:
        server.run()
    else:
        with socket.socket(fileno=os.dup(fd)) as listener:
            server.run(sockets=[listener])
