"""Checks of the HTTP connection limits, as a program: it can run with any version of uvicorn on its path."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from streamseg.web import http_protocol
from streamseg.web.request_limits import MAX_HEAD_BYTES
from streamseg.web.server import Server

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD_TIMEOUT_S = 0.5
MAX_CONNECTIONS = 8

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def hello(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


class Client:
    """Opens connections, and closes them at the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self, data: bytes = b"") -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def response(self, connection: Connection | None = None) -> bytes:
        """Make a whole request; return the body of the response."""
        reader, writer = connection or await self.open()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def is_closed(connection: Connection, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            with contextlib.suppress(ConnectionError):
                await connection[0].read()
    except TimeoutError:
        return False
    return True


async def requests_are_served(client: Client) -> None:
    connection = await client.open()
    for _ in range(3):
        assert await client.response(connection) == b"0 bytes"
    head, tail = REQUEST[:9], REQUEST[9:]
    reader, writer = await client.open(head)
    await asyncio.sleep(0)
    writer.write(tail)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def an_unfinished_head_is_closed(client: Client) -> None:
    silent, partial, reused = await client.open(), await client.open(REQUEST[:-2]), await client.open()
    await client.response(reused)
    reused[1].write(REQUEST[:-2])
    for connection in (silent, partial, reused):
        assert await is_closed(connection, HEAD_TIMEOUT_S + 5)


async def an_idle_connection_and_a_websocket_outlive_the_head_timeout(client: Client, port: int) -> None:
    idle = await client.open()
    await client.response(idle)
    async with connect(f"ws://127.0.0.1:{port}/live") as websocket:
        assert not await is_closed(idle, 2 * HEAD_TIMEOUT_S)
        await websocket.send("still here")
        assert await websocket.recv() == "still here"


async def the_oldest_unfinished_connection_makes_room(client: Client) -> None:
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12345"
    starts = [body, REQUEST[:-2], b""]
    waiting = [await client.open(starts[at % 3]) for at in range(MAX_CONNECTIONS)]
    assert await client.response() == b"0 bytes"
    assert await is_closed(waiting[0], 5)
    more = [await client.open(body) for _ in range(3 * MAX_CONNECTIONS)]
    assert await client.response() == b"0 bytes"
    assert await is_closed(more[0], 5)


async def a_burst_of_connections_leaves_room(client: Client) -> None:
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with asyncio.timeout(20):
        await asyncio.gather(*[client.open(REQUEST[:-2]) for _ in range(min(1500, open_files // 3))])
        assert await client.response() == b"0 bytes"


async def a_long_head_is_refused(client: Client) -> None:
    reader, _ = await client.open(REQUEST[:-2] + b"x: " + b"y" * MAX_HEAD_BYTES)
    assert not (await reader.readline()).startswith(b"HTTP/1.1 200")


async def main() -> None:
    """Run all checks."""
    # The usual limit on open files; the server raises its own. The clients of the burst are in the same process.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    http_protocol.HEAD_TIMEOUT_S = HEAD_TIMEOUT_S
    http_protocol.MAX_CONNECTIONS = MAX_CONNECTIONS
    ready = asyncio.Event()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    app = Starlette(routes=[Route("/", hello, methods=["GET", "POST"]), WebSocketRoute("/live", echo)])
    server = Server(app, ready.set)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        serving = asyncio.create_task(server.serve([bound]))
        await ready.wait()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        for check in (
            requests_are_served,
            an_unfinished_head_is_closed,
            lambda client: an_idle_connection_and_a_websocket_outlive_the_head_timeout(client, port),
            the_oldest_unfinished_connection_makes_room,
            a_burst_of_connections_leaves_room,
            a_long_head_is_refused,
        ):
            client = Client(port)
            async with asyncio.timeout(30):
                await check(client)
            client.close()
        server.stop()
        await serving
    print(f"uvicorn {uvicorn.__version__}: all checks passed")


if __name__ == "__main__":
    asyncio.run(main())
