"""Clips over HTTP: begun, listed, downloaded, and nothing else of the disk."""

from __future__ import annotations

import asyncio
import io

import av
import pytest
from starlette.requests import ClientDisconnect

from streamseg.client import AsyncController
from streamseg.client.assembly import assemble
from streamseg.web.clip_api import ClipApi
from streamseg.web.hub import Hub
from tests.client.conftest import Messages
from tests.e2e.daemon_process import wait_for
from tests.web.asgi import Leaver


def duration_s(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
    return float((frames[-1].pts - frames[0].pts) * frames[0].time_base)


def test_a_clip_is_begun_listed_and_downloaded(own):
    own.wait_log("clips of cam can begin")
    name = own.json("POST", "/v1/streams/cam/clips", {"after_s": 0.3})["clip"]
    wait_for(lambda: own.json("GET", "/v1/clips")["clips"][:1], 20, "the clip in the list", own.alive)
    (listed,) = own.json("GET", "/v1/clips")["clips"]
    assert (listed["name"], listed["stream"], listed["kind"]) == (name, "cam", "requested")
    status, headers, data = own.ask("GET", f"/v1/clips/{name}")
    assert (status, headers["content-type"], len(data)) == (200, "video/mp4", listed["size_bytes"])
    assert headers["content-disposition"] == f'attachment; filename="{name}"'
    assert 0 <= duration_s(data) <= 1.6  # a busy machine may have a single picture in it
    status, headers, part = own.ask("GET", f"/v1/clips/{name}", headers={"Range": "bytes=10-99"})
    assert (status, part) == (206, data[10:100])

    folder = own.file.parent / "clips"
    link = "20260101T000000Z-cam-requested.mp4"
    (folder / link).symlink_to(own.file)
    (folder / "wedding.mp4").write_bytes(b"mine")
    for other in (link, "wedding.mp4", ".lock", "..%2fconfig.yaml", "%2e%2e", "20260101T000000Z-cam-zone_left.mp4"):
        assert own.fault("GET", f"/v1/clips/{other}") == (404, "NOT_FOUND")
    assert [each["name"] for each in own.json("GET", "/v1/clips")["clips"]] == [name]
    assert own.fault("POST", "/v1/streams/cam/clips", {"before_s": 2}) == (400, "BAD_REQUEST")
    assert own.fault("POST", "/v1/streams/no/clips", {}) == (404, "STREAM_NOT_FOUND")
    (folder / name).unlink()


def test_waiting_for_a_clip_ends_with_its_client(own):
    own.wait_log("clips of cam can begin")

    async def check() -> None:
        hub = Hub("ipc:///none")  # it hears of no clip: the wait would take a minute
        hub.on_message(assemble(Messages()("daemon_status", streams=["cam"])))
        async with AsyncController(f"ipc://{own.runtime}/streamseg-control") as controller:
            client = Leaver({"after_s": 0.1}, path_params={"stream": "cam"}, query_string=b"wait=true")
            request = asyncio.create_task(ClipApi(hub, controller, None).record_clip(client.request))
            client.gone.set()
            async with asyncio.timeout(30):
                with pytest.raises(ClientDisconnect):
                    await request

    asyncio.run(check())
    wait_for(lambda: own.json("GET", "/v1/clips")["clips"], 20, "the clip, although no one waits", own.alive)
    for path in (own.file.parent / "clips").glob("*.mp4"):
        path.unlink()


def test_a_daemon_without_clips_says_how_to_configure_them(web):
    assert web.json("GET", "/v1/clips") == {"clips": []}
    assert web.fault("POST", "/v1/streams/cam/clips", {}) == (422, "BAD_CONFIG")
    assert web.fault("GET", "/v1/clips/20260101T000000Z-cam-requested.mp4") == (404, "NOT_FOUND")
