"""The web process: the page in the browser and the HTTP interface.

It is a client of the daemon like any other: it subscribes to what is published, and asks the control channel for what
a person wants. It may be slow, full or dead without any frame being lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

from streamseg.config.schema import HttpConfig, LogConfig
from streamseg.errors import ConfigError
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report

_PROGRESS_S: Final = 1.0
_CONTROL_S: Final = 12.0
_REACH_S: Final = 2.0


@dataclass(frozen=True)
class WebSpec:
    """What the web process needs to know.

    Attributes:
        http: Where to listen, and who may ask.
        publish_endpoint: Where the daemon publishes.
        control_endpoint: Where it takes requests.
        log: What to log.
    """

    http: HttpConfig
    publish_endpoint: str
    control_endpoint: str
    log: LogConfig = field(default_factory=LogConfig)


def main(spec: WebSpec, connection: Connection) -> None:
    """Serve until the supervisor says stop. The child's entry point.

    Raises:
        ConfigError: the address cannot be bound; no restart would help.
    """
    # The server's packages are loaded where they are used: the supervisor imports this module for its `WebSpec`.
    import cv2

    from streamseg.common.logs import setup_logging
    from streamseg.web.listen import listen_on

    link = ChildLink(connection)
    link.attach()
    setup_logging(spec.log, "web")
    cv2.setNumThreads(1)  # the cores are the tracker's
    if spec.http.listen is None:
        raise ConfigError("http.listen: is missing, so there is nothing to serve")
    bound, address = listen_on(spec.http.listen)
    with contextlib.closing(bound):
        asyncio.run(_serve(spec, link, bound, address))


async def _serve(spec: WebSpec, link: ChildLink, bound: socket.socket, address: str) -> None:
    from streamseg.client import AsyncController
    from streamseg.web.app import make_app
    from streamseg.web.hub import Hub
    from streamseg.web.server import Server

    loop = asyncio.get_running_loop()
    hub = Hub(spec.publish_endpoint)
    controller = AsyncController(spec.control_endpoint, timeout_s=_CONTROL_S, connect_timeout_s=_REACH_S)
    server = Server(make_app(hub, controller, spec.http), lambda: link.send(Report("ready", address)))
    supervisor = os.dup(link.fileno())

    def on_word() -> None:
        if link.stop_requested():
            loop.remove_reader(supervisor)
            server.stop()

    loop.add_reader(supervisor, on_word)
    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(_progress(link))]
    serving = asyncio.create_task(server.serve([bound]))
    try:
        # Whichever fails first ends the process: the supervisor starts a new one.
        done, _ = await asyncio.wait({serving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        loop.remove_reader(supervisor)
        os.close(supervisor)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await controller.close()


async def _progress(link: ChildLink) -> None:
    while True:
        link.send(Report("progress"))
        await asyncio.sleep(_PROGRESS_S)
