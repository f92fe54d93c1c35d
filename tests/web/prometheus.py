"""Debian's Prometheus, which scrapes a daemon every second."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon_process import wait_for
from tests.free_port import free_port


def program(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``; skips without it, fails where it is required."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("STREAMSEG_REQUIRE_PROMETHEUS") == "1":
            pytest.fail(f"STREAMSEG_REQUIRE_PROMETHEUS=1, but there is no {name}")
        pytest.skip(f"there is no {name}: apt-get install prometheus")
    return found


class Prometheus:
    """A server that scrapes one target."""

    def __init__(self, folder: Path, target: str) -> None:
        port = free_port()
        file = folder / "prometheus.yml"
        file.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: streamseg, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        self._url = f"http://127.0.0.1:{port}/api/v1/query?"
        listen = f"--web.listen-address=127.0.0.1:{port}"
        storage = f"--storage.tsdb.path={folder}/tsdb"
        self.process = subprocess.Popen(
            [program("prometheus"), f"--config.file={file}", listen, storage], stderr=subprocess.DEVNULL
        )
        try:
            scraped = "count_over_time(streamseg_up[1m]) >= 3"
            wait_for(
                lambda: self._ready() and self.ask(scraped), 60, "three scrapes", lambda: self.process.poll() is None
            )
        except BaseException:
            self.close()
            raise

    def _ready(self) -> bool:
        try:
            self.ask("1")
        except OSError:
            return False
        return True

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query; fails if it is refused."""
        try:
            with urllib.request.urlopen(
                self._url + urllib.parse.urlencode({"query": expression}), timeout=30
            ) as answer:
                result = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:  # it is starting
                    raise ConnectionError from None
                pytest.fail(f"{expression}: {error.read().decode()}")
        return list(result)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)
