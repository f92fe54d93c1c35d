"""A local server with the part of the Hugging Face Hub's protocol that a download needs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.servers.http_server import http_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """One repository. The next transfers break off after ``cuts`` bytes."""

    repository: str
    files: dict[str, bytes]
    url: str = ""
    cuts: list[int] = field(default_factory=list)
    served: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


def _describe(hub: HubServer) -> dict[str, object]:
    siblings = [
        {
            "rfilename": name,
            "size": len(content),
            "blobId": "0" * 40,
            "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134},
        }
        for name, content in hub.files.items()
    ]
    return {"id": hub.repository, "modelId": hub.repository, "sha": COMMIT, "siblings": siblings, "private": False}


def _answer(hub: HubServer, request: BaseHTTPRequestHandler) -> None:
    path = urlsplit(request.path).path
    hub.asked.append((request.command, path, request.headers.get("Range")))
    if re.fullmatch(rf"/api/models/{hub.repository}(/revision/main)?", path):
        body = json.dumps(_describe(hub)).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        return
    found = re.fullmatch(rf"/{hub.repository}/resolve/(?:main|{COMMIT})/(.+)", path)
    if found is None or found[1] not in hub.files:
        request.send_response(404)
        request.send_header("X-Error-Code", "EntryNotFound" if found else "RepoNotFound")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    announced = hub.files[found[1]]
    content = hub.served.get(found[1], announced)
    asked = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
    start = int(asked[1]) if asked else 0
    request.send_response(206 if asked else 200)
    if asked:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    request.send_header("Content-Length", str(len(content) - start))
    request.send_header("ETag", f'"{hashlib.sha256(announced).hexdigest()}"')
    request.send_header("X-Linked-Etag", f'"{hashlib.sha256(announced).hexdigest()}"')
    request.send_header("X-Linked-Size", str(len(announced)))
    request.send_header("X-Repo-Commit", COMMIT)
    request.end_headers()
    if request.command == "HEAD":
        return
    if hub.cuts:
        request.wfile.write(content[start : start + hub.cuts.pop(0)])
        request.wfile.flush()
        request.close_connection = True
        return
    request.wfile.write(content[start:])


@contextlib.contextmanager
def serving(repository: str, files: dict[str, bytes]) -> Iterator[HubServer]:
    hub = HubServer(repository, files)
    with http_server(lambda request: _answer(hub, request)) as hub.url:
        yield hub
