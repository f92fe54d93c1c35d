"""Daemons with a page, and a browser to look at it."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

from streamseg.client import Controller
from tests.e2e.daemon_process import wait_for
from tests.web.web_daemon import STREAMS, WebDaemon


@pytest.fixture(scope="package")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDaemon]:
    """One daemon for all tests that do not change it. It ends with this folder's tests: it takes a tenth of a core."""
    daemon = WebDaemon(tmp_path_factory.mktemp("web") / "daemon", STREAMS)
    try:
        yield daemon.wait_ready()
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def changed_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDaemon]:
    """One daemon that may open its own pictures as a camera, makes clips, and whose settings tests change.

    Few modules use it: to start it for each of them takes less than to keep it running between them.
    """
    streams = {"cam": STREAMS["cam"]}
    record = {"keep_free_mb": 1, "clips": {"path": "clips", "before_s": 1.0, "after_s": 0.5}}
    folder = tmp_path_factory.mktemp("own") / "daemon"
    daemon = WebDaemon(folder, streams, record=record, allow_own_addresses=True)
    try:
        yield daemon.wait_ready()
    finally:
        daemon.close()


@pytest.fixture
def own(changed_daemon: WebDaemon) -> WebDaemon:
    """The daemon of `changed_daemon`, with the settings of its file."""
    defaults = {"zones": {}, "lines": {}, "find": {"enabled": False}, "lost_after_s": 3.0}
    changed_daemon.json("PATCH", "/v1/streams/cam/settings", defaults)
    return changed_daemon


@pytest.fixture
def web(shared_daemon: WebDaemon) -> WebDaemon:
    """The shared daemon, without objects and without a search for some: random requests may have begun one."""
    for stream in STREAMS:
        shared_daemon.json("POST", f"/v1/streams/{stream}/find", {"enabled": False})
        shared_daemon.json("POST", f"/v1/streams/{stream}/reset")
        path = f"/v1/streams/{stream}/objects"
        wait_for(lambda path=path: not shared_daemon.json("GET", path)["objects"], 20, "a frame without objects")
    return shared_daemon


@pytest.fixture
def control(web: WebDaemon) -> Iterator[Controller]:
    """Another program that controls the shared daemon."""
    with Controller(f"ipc://{web.runtime}/streamseg-control") as controller:
        yield controller


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WebDaemon]]:
    """Start daemons for one test; they are killed at its end."""
    started: list[WebDaemon] = []

    def start(streams: dict[str, Any] = STREAMS, **http: Any) -> WebDaemon:
        started.append(WebDaemon(tmp_path / f"daemon{len(started)}", streams, **http))
        return started[-1].wait_ready()

    yield start
    for daemon in started:
        daemon.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window.

    Scoped to a module: it runs an event loop in this thread, and no test can start another one meanwhile.
    """
    executable = shutil.which("chromium")
    if executable is None:
        if os.environ.get("STREAMSEG_REQUIRE_CHROMIUM") == "1":
            pytest.fail("STREAMSEG_REQUIRE_CHROMIUM=1, but there is no chromium")
        pytest.skip("there is no chromium: apt-get install chromium")
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def idle_pages(browser: Browser) -> dict[str, list[Page]]:
    """Empty pages that other tests have left, by the options that they were opened with.

    A page of the daemon costs a third of the CPU time in one of them: its process runs, and it has the files.
    """
    return defaultdict(list)


@pytest.fixture
def open_page(
    browser: Browser, idle_pages: dict[str, list[Page]], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Open pages; an error in one of them fails the test.

    A test that changes what outlasts a navigation, such as the size of the window, says ``reuse=False``.
    """
    errors: list[str] = []
    opened: list[tuple[Page, list[Page] | None]] = []
    failed_before = request.session.testsfailed

    def on_error(error: Error) -> None:
        errors.append(str(error))

    def on_console(said: ConsoleMessage) -> None:
        if "Content Security Policy" in said.text:
            errors.append(said.text)

    def open_page(url: str, *, reuse: bool = True, **options: Any) -> Page:
        idle = idle_pages[repr(sorted(options.items()))]
        page = idle.pop() if reuse and idle else browser.new_context(**options).new_page()
        opened.append((page, idle if reuse else None))
        page.set_default_timeout(20_000)
        page.on("pageerror", on_error)
        page.on("console", on_console)
        page.goto(url)
        return page

    yield open_page
    failed = request.session.testsfailed > failed_before
    for page, idle in opened:
        if idle is None or failed or errors:
            page.context.close()
            continue
        page.unroute_all(behavior="ignoreErrors")
        page.goto("about:blank")
        page.mouse.move(0, 0)
        page.context.clear_cookies()
        page.remove_listener("pageerror", on_error)
        page.remove_listener("console", on_console)
        idle.append(page)
    assert errors == []
