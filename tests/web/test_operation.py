"""docs/operation.md where a running daemon is needed: the proxy's configuration, and the names in its alerts."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect
from prometheus_client.parser import text_string_to_metric_families

from streamseg.sources.scene.source import Scene
from streamseg.web.metrics import _PROMPTER_COUNTERS
from tests.e2e.daemon_process import wait_for
from tests.web.page_driver import BALL
from tests.web.page_eyes import Eyes
from tests.web.web_daemon import SCENE, WebDaemon

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operation.md").read_text()
TOKEN = "0123456789abcdef"


def block(language: str) -> str:
    """The page's only block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def expressions() -> list[str]:
    """All PromQL of the documents: the alerts, and the questions of the how-to."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (groups,) = [tree["groups"] for tree in map(yaml.safe_load, blocks) if "groups" in tree]
    asked = re.findall(r"\| `(.*?)` \|$", (ROOT / "docs/howto/metrics.md").read_text(), re.MULTILINE)
    return [rule["expr"] for group in groups for rule in group["rules"]] + asked


def test_every_metric_label_and_value_of_the_expressions_exists(web: WebDaemon) -> None:
    names: dict[str, dict[str, set[str]]] = {}

    def read() -> None:
        text = web.ask("GET", "/metrics")[2].decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                for label, value in sample.labels.items():
                    names.setdefault(sample.name, {}).setdefault(label, set()).add(value)
                names.setdefault(sample.name, {})

    # Drops and latencies have series once there are some. A viewer that is paused makes them.
    # A search for objects has series while it is on.
    web.json("POST", "/v1/streams/cam/find", {"enabled": True})
    late = {"streamseg_latency_seconds_bucket", "streamseg_find_looks_total"}
    wait_for(lambda: read() or late <= names.keys(), 30, "latencies and a search")
    stages = {"ring", "publish", "decode", "image", "event", "snapshot"}  # docs/protocol.md
    documented = set(re.findall(r"^\| `(\w+)/", (ROOT / "docs/protocol.md").read_text(), re.MULTILINE))
    assert documented >= stages
    found = expressions()
    assert len(found) > 10
    for expression in found:
        for name, selector in re.findall(r"\b(streamseg_\w+)(?:\{([^}]*)\})?", expression):
            if name == "streamseg_drops_total":
                known = {"stage": stages, "stream": set(), "reason": set()}
                assert f"{name.removesuffix('_total')}" in web.ask("GET", "/metrics")[2].decode()
            elif name.startswith("streamseg_prompter_"):  # this daemon has none
                assert name.removeprefix("streamseg_").removesuffix("_total") in _PROMPTER_COUNTERS, expression
                known = {"stream": set(), "prompter": set()}
            else:
                assert name in names, expression
                known = names[name]
            for label, value in re.findall(r'(\w+)="([^"]*)"', selector):
                assert value in known[label], (expression, label, value)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Start nginx with the configuration of the page in front of a daemon; returns the address behind it."""
    if (nginx := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")) is None:
        if os.environ.get("STREAMSEG_REQUIRE_NGINX") == "1":
            pytest.fail("STREAMSEG_REQUIRE_NGINX=1, but there is no nginx")
        pytest.skip("there is no nginx: apt-get install nginx-light")
    running: list[subprocess.Popen[bytes]] = []
    own = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost")
    subprocess.run(
        ["openssl", "req", *own, "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")],
        check=True,
        capture_output=True,
        timeout=60,
    )

    def start(daemon: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = block("nginx")
        for documented, here in (
            ("http://127.0.0.1:8080/", daemon),
            ("listen 443", f"listen 127.0.0.1:{port}"),
            ("cameras.example.org", "localhost"),
            ("/etc/ssl/certs/cameras.pem", str(tmp_path / "certificate")),
            ("/etc/ssl/private/cameras.key", str(tmp_path / "key")),
        ):
            assert documented in server
            server = server.replace(documented, here)
        places = " ".join(
            f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; worker_processes 1;\n"
            f"events {{}}\nhttp {{ access_log off; {places}\n{server}}}\n"
        )
        running.append(subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]))

        def listens() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listens, 30, "nginx", lambda: running[-1].poll() is None)
        return f"https://localhost:{port}/streamseg/"

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_the_page_works_behind_a_tls_proxy_below_a_path(
    start: Callable[..., WebDaemon], proxy: Callable[[str], str], open_page: Callable[..., Page]
) -> None:
    daemon = start(token=TOKEN)
    address = proxy(daemon.url)
    page = open_page(address, ignore_https_errors=True)
    expect(page).to_have_url(f"{address}login")
    page.fill("input[name=token]", "wrong")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{address}login#wrong")
    page.fill("input[name=token]", TOKEN)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(re.escape(address) + "(#.*)?$"))
    # Pictures come through the WebSocket, and a click goes back as a request.
    eyes = Eyes(page, Scene(SCENE)).wait_for_picture()
    page.mouse.click(*eyes.place_of(BALL))
    expect(page.locator("#objects .object")).to_have_count(1)
    (cookie,) = page.context.cookies()
    assert cookie["secure"]
    assert cookie["httpOnly"]
