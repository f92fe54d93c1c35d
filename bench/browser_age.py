"""How old pictures are in a browser that needs 100 ms for each.

Two arms on one daemon (the generated scene, model ``color``). ``page`` is the page's WebSocket, which sends a picture
when the one before is acknowledged. ``free`` is a server that sends every picture, as previews usually do. Both
clients run in processes of their own and do the same: receive a message, work for 100 ms, then note the age of the
frame, which is what a person would see.

    python bench/browser_age.py
    python bench/browser_age.py --seconds 30 --size 1280x720 --work-ms 100
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from streamseg.client import AsyncPairedSubscriber
from streamseg.web.feed import Feed
from streamseg.web.frame_message import frame_message
from streamseg.web.stream_view import StreamView

STREAM = "cam"
READY_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--work-ms", type=float, default=100.0)
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    rows: dict[str, list[float]] = {}
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        daemon, page = start_daemon(folder, args.size, args.fps)
        ours, theirs = spawn.Pipe()
        free = spawn.Process(target=serve_freely, args=(f"ipc://{folder}/masks", theirs), daemon=True)
        free.start()
        try:
            urls = {"page": page.replace("http://", "ws://") + "v1/live", "free": ours.recv()}
            for arm, url in urls.items():
                rows[arm] = in_own_process(spawn, arm, url, args.seconds, args.work_ms / 1e3)
        finally:
            free.kill()
            free.join()
            daemon.terminate()
            daemon.wait(timeout=20)
    print(
        f"{platform.processor() or platform.machine()}, load {before:.1f} before, {os.getloadavg()[0]:.1f} after; ",
        end="",
    )
    print(f"{args.size} at {args.fps} frames/s, {args.work_ms:g} ms a picture, {args.seconds:g} s an arm\n")
    print("| arm | pictures | median age ms | 95 % | oldest |\n|---|---|---|---|---|")
    for arm, ages in rows.items():
        p95 = statistics.quantiles(ages, n=20)[-1]
        print(f"| {arm} | {len(ages)} | {statistics.median(ages):.0f} | {p95:.0f} | {max(ages):.0f} |")


def start_daemon(folder: Path, size: str, fps: int) -> tuple[subprocess.Popen[str], str]:
    """Start a daemon with a page; return it and the page's address."""
    width, height = map(int, size.split("x"))
    prompt = {"object": 1, "label": "disc", "points": [[width // 4, height // 4]]}
    config = {
        "model": {"name": "color"},
        "publish": {"endpoints": [f"ipc://{folder}/masks"]},
        "control": {"endpoint": f"ipc://{folder}/control"},
        "http": {"listen": "127.0.0.1:0"},
        # Rendered once, so that drawing the scene takes no CPU from what is measured.
        "streams": {STREAM: {"source": f"scene:simple?size={size}&fps={fps}&cache=20", "prompts": [prompt]}},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    daemon = subprocess.Popen([sys.executable, "-m", "streamseg", "run", str(file)], stderr=subprocess.PIPE, text=True)
    assert daemon.stderr is not None
    for line in daemon.stderr:
        if "the page is at " in line:
            return daemon, line.rpartition(" ")[2].strip()
    raise SystemExit("the daemon ended before it served its page")


def in_own_process(spawn: Any, arm: str, url: str, seconds: float, work_s: float) -> list[float]:
    """Run a client in its own process; return the ages it saw, in ms."""
    ours, theirs = spawn.Pipe()
    client = spawn.Process(target=take_slowly, args=(arm, url, seconds, work_s, theirs), daemon=True)
    client.start()
    ages: list[float] = ours.recv()
    client.join(timeout=10)
    return ages


def take_slowly(arm: str, url: str, seconds: float, work_s: float, out: Connection) -> None:
    """Act as the slow browser. Ages are by the machine's monotonic clock."""
    ages: list[float] = []
    with connect(url, open_timeout=READY_S, max_size=None) as socket:
        if arm == "page":
            socket.send(json.dumps({"type": "watch", "stream": STREAM}))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            header = next_header(socket)
            time.sleep(work_s)  # decodes and paints
            ages.append((time.monotonic_ns() - int(header["t_captured_ns"])) / 1e6)
            if arm == "page":
                socket.send(json.dumps({"type": "ack", "n": header["n"]}))
    out.send(ages)


def next_header(socket: ClientConnection) -> dict[str, Any]:
    """Return the header of the next picture; text messages are skipped."""
    while isinstance(data := socket.recv(READY_S), str):
        pass
    (length,) = struct.unpack_from("<I", data)
    header: dict[str, Any] = json.loads(data[4 : 4 + length])
    return header


def serve_freely(endpoint: str, out: Connection) -> None:
    """Serve the other arm: send every picture to every client, limited only by the network."""
    asyncio.run(_serve_freely(endpoint, out))


async def _serve_freely(endpoint: str, out: Connection) -> None:
    view = StreamView(STREAM, Feed(endpoint, STREAM))

    async def send_all(socket: ServerConnection) -> None:
        async with AsyncPairedSubscriber(endpoint, streams=[STREAM]) as subscriber:
            with contextlib.suppress(ConnectionClosed):
                async for pair in subscriber:
                    age_ms = pair.masks.age_ms
                    await socket.send(frame_message(pair, view, n=pair.frame, age_ms=age_ms, screen_ms=None))

    async with serve(send_all, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        out.send(f"ws://127.0.0.1:{port}/")
        await server.serve_forever()


if __name__ == "__main__":
    main()
