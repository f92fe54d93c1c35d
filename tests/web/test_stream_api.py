"""Cameras are tested, added and removed by HTTP."""

from __future__ import annotations

import asyncio
import base64
import socket

import numpy as np
import pytest
from starlette.requests import ClientDisconnect

from streamseg.client import AsyncController, Controller
from streamseg.client.jpeg import decode_jpeg
from streamseg.config.schema import HttpConfig, StreamConfig
from streamseg.errors import ControlError, SourceError
from streamseg.sources.probe import probe
from streamseg.web.api_error import ApiError
from streamseg.web.hub import Hub
from streamseg.web.source_probe import SourceProbe, suggest_name
from streamseg.web.stream_api import StreamApi
from tests.e2e.daemon_process import wait_for
from tests.servers.http_server import http_server
from tests.web.asgi import Leaver
from tests.web.web_daemon import SIZE


def picture_address(daemon):
    return f"{daemon.url}v1/streams/cam/stream.mjpg"


def test_a_camera_is_tested_added_and_removed(own):
    source = {"source": picture_address(own)}
    report = own.json("POST", "/v1/sources/probe", source)
    assert report["size"] == list(SIZE)
    assert report["codec"] == "mjpeg"
    assert report["live"]
    assert decode_jpeg(base64.b64decode(report["picture"]), SIZE).shape == (SIZE[1], SIZE[0], 3)
    zones = {"door": {"polygon": [[0, 0], [0.5, 0], [0.5, 0.5]], "coords": "normalized"}}
    own.json("POST", "/v1/streams/again", {**source, "zones": zones})
    try:
        wait_for(lambda: own.ask("GET", "/v1/streams/again")[0] == 200, 20, "its status")
        wait_for(lambda: own.json("GET", "/v1/streams/again")["state"] == "streaming", 30, "its first frames")
        assert own.fault("POST", "/v1/streams/again", source) == (409, "STREAM_EXISTS")
    finally:
        own.json("DELETE", "/v1/streams/again")
    wait_for(lambda: own.ask("GET", "/v1/streams/again")[0] == 404, 20, "no such stream")


def test_a_failed_test_says_why_without_the_password(own):
    status, _, body = own.ask("POST", "/v1/sources/probe", {"source": "rtsp://me:hush-hush@127.0.0.1:9/x"})
    assert status == 422
    assert b"connection refused" in body
    assert b"hush" not in body
    assert own.fault("POST", "/v1/sources/probe", {"source": "rtsp://h/${HOME}"}) == (422, "BAD_CONFIG")
    assert own.fault("POST", "/v1/streams/x", {"source": "/etc/passwd"}) == (422, "BAD_CONFIG")
    assert own.fault("POST", "/v1/streams/x", {"source": "rtsp://h/x", "decoder": "cuda"}) == (400, "BAD_REQUEST")
    assert "hush" not in own.log


def test_settings_are_changed_while_a_stream_runs(own):
    before = own.json("GET", "/v1/streams/cam/settings")
    assert "source" not in before["settings"]
    assert before["settings"]["lost_after_s"] == 3.0
    epoch = own.json("GET", "/v1/streams/cam")["epoch"]
    zone = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "coords": "normalized"}
    after = own.json("PATCH", "/v1/streams/cam/settings", {"zones": {"all": zone}, "lost_after_s": 5})
    assert after["from_file"]
    assert after["settings"]["zones"]["all"]["polygon"] == zone["polygon"]
    assert own.json("GET", "/v1/streams/cam/settings") == after
    own.json("POST", "/v1/streams/cam/prompts", {"points": [[0.5, 0.5]]})
    with Controller(f"ipc://{own.runtime}/streamseg-control") as control:
        wait_for(lambda: "all" in str(control.get_status("cam")), 20, "the zone in the status")
        with pytest.raises(ControlError, match="source cannot be changed"):
            control.change_stream("cam", {"source": "webcam:0"})
    assert own.json("GET", "/v1/streams/cam")["epoch"] == epoch, "the source was left alone"
    bad = {"zones": {"all": {"polygon": [[0, 0], [2, 0], [1, 1]], "coords": "normalized"}}}
    assert own.fault("PATCH", "/v1/streams/cam/settings", bad) == (422, "BAD_CONFIG")
    assert own.fault("PATCH", "/v1/streams/cam/settings", {"prompts": []}) == (400, "BAD_REQUEST")
    assert own.json("GET", "/v1/streams/cam/settings") == after


def test_own_services_are_refused_by_default(web):
    for path in ("/v1/sources/probe", "/v1/streams/again"):
        status, _, body = web.ask("POST", path, {"source": picture_address(web)})
        assert status == 422
        assert b"http.allow_own_addresses" in body


def test_redirects_are_followed_only_where_they_are_allowed(tmp_path):
    import cv2

    _, jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))

    def answer(request):
        if request.path == "/camera":
            request.send_response(302)
            request.send_header("Location", "/picture.jpg")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Type", "image/jpeg")
        request.send_header("Content-Length", str(len(jpeg)))
        request.end_headers()
        request.wfile.write(jpeg.tobytes())

    with http_server(answer) as url:
        source = f"{url.rstrip('/')}/camera"
        assert probe(StreamConfig(source=source), 0.1).format.width == 64
        with pytest.raises(SourceError):
            probe(StreamConfig(source=source, follow_redirects=False), 0.1)
        assert probe(StreamConfig(source=f"{url}/x.jpg", follow_redirects=False), 0.1).format.width == 64


def test_playlists_are_followed_only_where_redirects_are():
    asked = []

    def answer(request):
        asked.append(request.path)
        playlist = request.path.startswith("/camera")
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/inner.ts\n#EXT-X-ENDLIST\n" if playlist else ""
        request.send_response(200 if playlist else 404)
        request.send_header("Content-Type", "application/vnd.apple.mpegurl")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())

    with http_server(answer) as url:
        for path in ("/camera", "/camera.m3u8"):
            with pytest.raises(SourceError, match=r"playlist .*http\.allow_own_addresses"):
                probe(StreamConfig(source=f"{url}{path}", follow_redirects=False), 0.1)
            assert "/inner.ts" not in asked
        with pytest.raises(SourceError):
            probe(StreamConfig(source=f"{url}/camera.m3u8"), 0.1)
        assert "/inner.ts" in asked


def test_modules_in_the_working_directory_are_not_run(tmp_path, monkeypatch):
    (tmp_path / "typer.py").write_text("raise SystemExit('this ran')")
    monkeypatch.chdir(tmp_path)
    measured = SourceProbe().measure("rtsp://127.0.0.1:9/x", transport="tcp", follow_redirects=False)
    with pytest.raises(ApiError, match="connection refused"):
        asyncio.run(measured)


def test_a_test_of_an_address_ends_with_its_client():
    async def check(silent: socket.socket) -> None:
        client = Leaver({"source": f"rtsp://127.0.0.1:{silent.getsockname()[1]}/a"})
        async with AsyncController("ipc:///none") as controller, asyncio.timeout(60):
            api = StreamApi(Hub("ipc:///none"), controller, HttpConfig(allow_own_addresses=True))
            request = asyncio.create_task(api.probe(client.request))
            connection, _ = await asyncio.get_running_loop().sock_accept(silent)  # it never answers
            client.gone.set()
            with connection, pytest.raises(ClientDisconnect):
                await request
            with pytest.raises(ApiError, match="refused"):  # and not that another address is being tested
                await api.probe(Leaver({"source": "rtsp://127.0.0.1:9/x"}).request)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        asyncio.run(check(silent))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rtsp://user:secret@192.168.1.20:554/stream1", "192-168-1-20"),
        ("http://Yard.example/a.m3u8?token=1", "yard-example-2"),
        ("rtsp://[::1]/x", "1"),
        ("rtsp://user:secret@[::1/x", "camera"),
        ("rtsp://user:a@secret#b@door.example/x", "door-example"),
        ("webcam:0", "webcam0"),
        ("http:///", "camera"),
    ],
)
def test_a_name_is_suggested(source, name):
    assert suggest_name(source, {"yard-example"}) == name
