"""The web process: the browser page and the HTTP API.

It is an ordinary client of the daemon: it subscribes to published messages and sends requests to the control channel.
No frame is lost if it is slow, overloaded or dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from multiprocessing.connection import Connection
from typing import Final

import cv2

from streamseg.client import AsyncController
from streamseg.common.logs import setup_logging
from streamseg.errors import ConfigError
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report
from streamseg.protocol.topics import is_loopback
from streamseg.security.key_folder import KeyFolder
from streamseg.web.app import make_app
from streamseg.web.hub import Hub
from streamseg.web.listen import listen_on
from streamseg.web.server import Server
from streamseg.web.spec import WebSpec
from streamseg.web.tls import Certificate
from streamseg.web.tokens import Tokens

_PROGRESS_PERIOD_S: Final = 1.0
_CONTROL_TIMEOUT_S: Final = 12.0
_CONNECT_TIMEOUT_S: Final = 2.0


def main(spec: WebSpec, connection: Connection) -> None:
    """Serve until the supervisor sends stop. Entry point of the child process.

    Raises:
        ConfigError: The address cannot be bound; a restart would not help.
    """
    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "web")
    cv2.setNumThreads(1)  # leave the cores to the tracker
    if spec.http.listen is None:
        raise ConfigError("http.listen is missing: set it to HOST:PORT, for example 127.0.0.1:8080")
    certificate = Certificate(spec.http)
    bound, address = listen_on(spec.http.listen, "http" if certificate.context is None else "https")
    with contextlib.closing(bound):
        asyncio.run(_serve(spec, link, bound, address, certificate))


async def _serve(spec: WebSpec, link: ChildLink, bound: socket.socket, address: str, certificate: Certificate) -> None:
    loop = asyncio.get_running_loop()
    tokens = _tokens(spec)
    hub = Hub(spec.publish_endpoint)
    controller = AsyncController(
        spec.control_endpoint, timeout_s=_CONTROL_TIMEOUT_S, connect_timeout_s=_CONNECT_TIMEOUT_S
    )
    server = Server(
        make_app(hub, controller, spec.http, spec.clips, spec.subscribe_endpoint, spec.key_command, tokens),
        lambda: link.send(Report("ready", address)),
        certificate.context,
    )
    supervisor_fd = os.dup(link.fileno())

    def on_supervisor_message() -> None:
        if link.stop_requested():
            loop.remove_reader(supervisor_fd)
            server.stop()

    loop.add_reader(supervisor_fd, on_supervisor_message)
    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(_report_progress(link, tokens, certificate))]
    serving = asyncio.create_task(server.serve([bound]))
    try:
        # The first failure ends the process; the supervisor restarts it.
        done, _ = await asyncio.wait({serving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        loop.remove_reader(supervisor_fd)
        os.close(supervisor_fd)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await controller.close()


def _tokens(spec: WebSpec) -> Tokens:
    http = spec.http
    is_open = http.token is None and not http.require_token and is_loopback((http.listen or "").rpartition(":")[0])
    return Tokens(http.token, KeyFolder(spec.keys).watched("token"), required=not is_open)


async def _report_progress(link: ChildLink, tokens: Tokens, certificate: Certificate) -> None:
    while True:
        link.send(Report("progress"))
        tokens.refresh()
        certificate.refresh()
        await asyncio.sleep(_PROGRESS_PERIOD_S)
