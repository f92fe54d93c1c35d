from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from streamseg.models.registry import Checkpoint, ModelEntry
from tests.servers.http_server import http_server

FILE_NAME = "weights.pt"


@dataclass
class FileServer:
    """A real HTTP server with one file. ``script`` says what the next answers are; after that it behaves."""

    content: bytes
    url: str = ""
    etag: str = '"one"'
    ranges: bool = True
    script: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def entry(self) -> ModelEntry:
        digest = hashlib.sha256(self.content).hexdigest()
        checkpoint = Checkpoint(f"{self.url}/{FILE_NAME}", len(self.content), digest)
        return ModelEntry("weights", "sam2", "configs/none.yaml", checkpoint, "for tests")


def _answer(server: FileServer, request: BaseHTTPRequestHandler) -> None:
    server.asked.append(dict(request.headers))
    step = server.script.pop(0) if server.script else "serve"
    if step.isdigit():
        request.send_error(int(step))
        return
    if step == "stall":
        server.released.wait(30)
        return
    content, start, whole = server.content, 0, len(server.content)
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    unchanged = request.headers.get("If-Range", server.etag) == server.etag
    if asked and server.ranges and unchanged:
        start = int(asked[1])
        if start >= whole:
            request.send_error(416)
            return
        request.send_response(206)
        first = start + 1 if step == "shifted" else start
        request.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
    else:
        request.send_response(200)
    if step == "endless":
        request.send_header("Connection", "close")
    else:
        request.send_header("Content-Length", str(whole - start))
    request.send_header("ETag", server.etag)
    request.end_headers()
    body = content[start:] + (b"more" if step == "endless" else b"")
    if step.startswith("cut:"):
        body = body[: int(step[4:])]
    if step.startswith("hang:"):
        body = body[: int(step[5:])]
    request.wfile.write(body)
    request.wfile.flush()
    if step.startswith("hang:"):
        server.released.wait(30)
    if step.startswith(("cut:", "hang:")) or step == "endless":
        request.close_connection = True


@contextlib.contextmanager
def _serving(content: bytes) -> Iterator[FileServer]:
    state = FileServer(content)
    with http_server(lambda request: _answer(state, request)) as state.url:
        try:
            yield state
        finally:
            state.released.set()


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = b"".join(hashlib.sha256(i.to_bytes(4)).digest() for i in range(100_000))  # 3.2 MB
    with _serving(content) as server:
        yield server
