import os
from collections.abc import Callable, Iterator

import pytest

from tests.servers.live_servers import GstRtspServer, MjpegServer, Publisher, ServerProcess, missing_gstreamer


@pytest.fixture
def processes() -> Iterator[list[ServerProcess]]:
    """Server processes that are killed at the end of the test."""
    started: list[ServerProcess] = []
    yield started
    for process in started:
        process.kill()


@pytest.fixture
def publisher(processes: list[ServerProcess]) -> Callable[..., Publisher]:
    def start(url: str, **settings: object) -> Publisher:
        process = Publisher(url, **settings)
        processes.append(process)
        return process

    return start


@pytest.fixture(scope="session")
def gstreamer() -> None:
    if (reason := missing_gstreamer()) is not None:
        if os.environ.get("STREAMSEG_REQUIRE_GSTREAMER") == "1":
            pytest.fail(f"STREAMSEG_REQUIRE_GSTREAMER=1, but there is no GStreamer RTSP server: {reason}")
        pytest.skip(f"no GStreamer RTSP server: {reason}")


@pytest.fixture
def gst_server(gstreamer: None, processes: list[ServerProcess]) -> Callable[..., GstRtspServer]:
    def start(**settings: object) -> GstRtspServer:
        server = GstRtspServer(**settings)
        processes.append(server)
        return server

    return start


@pytest.fixture
def mjpeg_server() -> Iterator[MjpegServer]:
    server = MjpegServer()
    yield server
    server.close()
