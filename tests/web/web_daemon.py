"""A daemon with a page, in a process of its own."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.daemon_process import DaemonProcess, wait_for

SIZE = (640, 360)
SCENE = f"scene:simple?size={SIZE[0]}x{SIZE[1]}&fps=10&code=1"
YARD = "scene:simple?size=320x180&fps=5&code=1"
STREAMS = {"cam": {"source": SCENE}, "yard": {"source": YARD}}


class WebDaemon(DaemonProcess):
    """`streamseg run` with a page.

    Attributes:
        url: Of the page, once :meth:`wait_ready` returned.
    """

    def __init__(
        self, folder: Path, streams: dict[str, Any], *, model: str = "colour", record: Any = None, **http: Any
    ) -> None:
        folder.mkdir(exist_ok=True)
        http = {"listen": "127.0.0.1:0", **http}
        super().__init__({"model": {"name": model}, "streams": streams, "http": http, "record": record or {}}, folder)
        self.url = ""

    def wait_ready(self) -> WebDaemon:
        self.wait_log(r"the page is at http://\S+")
        found = re.search(r"the page is at (http://\S+)", self.log)
        assert found is not None
        self.url = found[1]
        wait_for(lambda: self.ask("GET", "/readyz")[0] == 200, 30, f"readiness\n{self.log}", self.alive)
        return self

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Make a request; return status, headers and body."""
        data = None if body is None else json.dumps(body).encode()
        all_headers = {**({"Content-Type": "application/json"} if data else {}), **(headers or {})}
        request = urllib.request.Request(self.url + path.lstrip("/"), data, all_headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def json(self, method: str, path: str, body: object = None) -> Any:
        """Make a request that must succeed; return its JSON."""
        status, _, data = self.ask(method, path, body)
        assert status in (200, 204), (status, data)
        return json.loads(data) if data else None

    def fault(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Make a request that must be refused; return status and code."""
        status, _, data = self.ask(method, path, body)
        assert status >= 400, data
        error = json.loads(data)["error"]
        assert error["message"]
        return status, error["code"]

    def objects(self, stream: str = "cam") -> list[dict[str, Any]]:
        """The objects that the worker has, with their prompts."""
        listing = self.json("GET", "/v1/control")["streams"]
        return next(each["objects"] for each in listing if each["stream"] == stream)
