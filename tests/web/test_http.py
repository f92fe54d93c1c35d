"""The HTTP API of a real daemon."""

from __future__ import annotations

import gzip
import json
import re
import socket
import urllib.request

import av
import numpy as np
import pytest

from streamseg.client import Subscriber
from streamseg.client.jpeg import decode_jpeg
from streamseg.protocol.palette import color_of
from streamseg.sources.scene.code import read_frame_code
from streamseg.sources.scene.source import Scene
from streamseg.web.app import STATIC
from tests.e2e.daemon_process import wait_for
from tests.web.web_daemon import SCENE, SIZE

SAMPLE = re.compile(r'(streamseg_\w+)(\{(\w+="([^"\\\n]|\\.)*",?)+\})? [-+0-9.einf]+')


def prompt(web, **more):
    return web.json("POST", "/v1/streams/cam/prompts", {"points": [[0.5, 0.5]], **more})


def test_health_and_readiness(web):
    assert web.json("GET", "/healthz") == {"ok": True, "missing": []}
    assert web.json("GET", "/readyz") == {"ok": True, "missing": []}


def test_not_ready_without_a_worker(start):
    """Without a worker, `/readyz` fails and `/healthz` does not."""
    daemon = start()
    killed = daemon.child("worker")
    killed.kill()

    def replacement():
        return [worker for worker in daemon.children("worker") if worker.pid != killed.pid]

    wait_for(replacement, 20, "another worker")
    (worker,) = replacement()
    worker.suspend()  # before it is ready: else it may be back before a status message misses it

    def not_ready():
        status, _, answer = daemon.ask("GET", "/readyz")
        return status == 503 and b"worker" in answer  # on a busy machine, masks may be missed first

    wait_for(not_ready, 60, "not ready for lack of the worker")
    assert daemon.json("GET", "/healthz")["ok"]
    worker.resume()
    wait_for(lambda: daemon.ask("GET", "/readyz")[0] == 200, 60, "ready again")


def test_streams_and_objects(web):
    found = web.json("GET", "/v1/streams")
    assert [each["id"] for each in found["streams"]] == ["cam", "yard"]
    assert found["daemon"]["processes"]["web"] == "ready"
    one = web.json("GET", "/v1/streams/cam")
    assert (one["state"], tuple(one["size"])) == ("streaming", SIZE)
    made = prompt(web, label="thing")
    objects = "/v1/streams/cam/objects"
    wait_for(lambda: web.json("GET", objects)["objects"], 10, "the object on a tracked frame")
    (seen,) = web.json("GET", objects)["objects"]
    assert (seen["id"], seen["label"], seen["state"]) == (made["object_id"], "thing", "tracked")
    assert seen["colour"].startswith("#")


def test_every_operation_of_the_page(web):
    made = prompt(web, label="one")
    path = f"/v1/streams/cam/objects/{made['object_id']}"
    assert made["new"]
    again = prompt(web, object_id=made["object_id"], points=[[0.1, 0.9, 0]])
    assert not again["new"]
    assert web.json("POST", f"{path}/undo") == {"object_id": made["object_id"], "prompts": 1}
    web.json("PATCH", path, {"label": "two"})
    assert web.objects()[0]["label"] == "two"
    web.json("POST", "/v1/streams/cam/pause")
    assert web.json("GET", "/v1/control")["streams"][0]["paused"]
    wait_for(lambda: web.json("GET", "/v1/streams/cam")["paused"], 10, "a status that says so")
    web.json("POST", "/v1/streams/cam/resume")
    web.json("DELETE", path)
    assert web.objects() == []
    undone = web.json("POST", "/v1/streams/cam/undo")
    assert (undone["op"], undone["object_ids"]) == ("remove_object", [made["object_id"]])
    assert [each["label"] for each in web.objects()] == ["two"]
    web.json("POST", "/v1/streams/cam/reset")
    assert web.objects() == []
    preview = prompt(web, preview=True)
    assert preview["mask"]["size"] == [SIZE[1], SIZE[0]]
    assert web.objects() == []


def test_prompts_are_normalized_and_repeated_in_pixels(web):
    made = prompt(web, points=[[0.25, 0.5], [0.5, 0.75, 0]], preview=True)
    assert made["points_px"] == [[160, 180, 1], [320, 270, 0]]
    assert prompt(web, points=[[160, 180]], coords="pixels", preview=True)["points_px"] == [[160, 180, 1]]
    assert prompt(web, points=[], box=[0.25, 0.25, 0.5, 0.5], preview=True)["box_px"] == [160, 90, 320, 180]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/streams/nowhere", None, 404, "STREAM_NOT_FOUND"),
        ("GET", "/v1/streams/%00/objects", None, 404, "STREAM_NOT_FOUND"),
        ("POST", "/v1/streams/nowhere/prompts", {"points": [[0.5, 0.5]]}, 404, "STREAM_NOT_FOUND"),
        ("POST", "/v1/streams/cam/prompts", {}, 422, "BAD_PROMPT"),
        ("POST", "/v1/streams/cam/prompts", {"points": [[2.0, 0.5]]}, 422, "BAD_PROMPT"),
        ("POST", "/v1/streams/cam/prompts", {"points": [[320, 180]]}, 422, "BAD_PROMPT"),
        ("POST", "/v1/streams/cam/prompts", {"points": [[0.5, 0.5]], "coords": "pixels"}, 422, "BAD_PROMPT"),
        ("POST", "/v1/streams/cam/prompts", {"points": [[0.5, 0.5, 0.7]]}, 422, "BAD_PROMPT"),
        ("POST", "/v1/streams/cam/prompts", {"pionts": []}, 400, "BAD_REQUEST"),
        ("POST", "/v1/streams/cam/prompts", [], 400, "BAD_REQUEST"),
        ("DELETE", "/v1/streams/cam/objects/99", None, 404, "OBJECT_NOT_FOUND"),
        ("POST", "/v1/streams/cam/objects/99/undo", None, 404, "OBJECT_NOT_FOUND"),
        ("DELETE", "/v1/streams/cam/objects/0", None, 400, "BAD_REQUEST"),
        ("DELETE", "/v1/streams/cam/objects/x", None, 400, "BAD_REQUEST"),
        ("DELETE", f"/v1/streams/cam/objects/{2**31}", None, 400, "BAD_REQUEST"),
        ("PATCH", "/v1/streams/cam/objects/1", {"label": "x" * 101}, 400, "BAD_REQUEST"),
        ("GET", "/v1/streams/cam/snapshot.jpg?overlay=maybe", None, 400, "BAD_REQUEST"),
        ("GET", "/v1/streams/cam/stream.mjpg?overlya=true", None, 400, "BAD_REQUEST"),
        ("POST", "/v1/streams/cam/clips?wiat=true", {}, 400, "BAD_REQUEST"),
        ("GET", "/nowhere", None, 404, "NOT_FOUND"),
        ("GET", "/static/../app.py", None, 404, "NOT_FOUND"),
        ("GET", "/static/%2e%2e/app.py", None, 404, "NOT_FOUND"),
        ("DELETE", "/v1/streams", None, 405, "BAD_METHOD"),
    ],
)
def test_refusals_have_a_status_a_code_and_the_mend(web, method, path, body, status, code):
    assert web.fault(method, path, body) == (status, code)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_may_have_any_query(web, path):
    assert web.ask("GET", f"{path}?1732980000")[0] == 200


def test_a_preview_of_a_frame_that_is_not_held_is_refused(web):
    path, preview = "/v1/streams/cam/prompts", {"points": [[0.5, 0.5]], "frame": 0, "preview": True}
    wait_for(lambda: web.ask("POST", path, preview)[0] != 200, 60, "frame 0 is no longer held")
    assert web.fault("POST", path, preview) == (410, "FRAME_EXPIRED")


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/v1/streams/cam/snapshot.jpg?overlay=true&overlya=secret", ("'overlya'", "takes overlay, _")),
        ("POST", "/v1/streams/cam/clips?overlay=true", ("'overlay'", "takes wait")),
        ("DELETE", "/v1/streams/cam/objects/1?=", ("''", "takes none")),
        ("GET", f"/v1/streams?{'x' * 500}", (f"'{'x' * 20}'", "takes none")),
        ("GET", "/metrics?a&overlay", ("'a'", "takes none")),
    ],
)
def test_an_unknown_query_parameter_is_named_with_the_known_ones(web, method, path, words):
    status, _, data = web.ask(method, path)
    error = json.loads(data)["error"]
    assert (status, error["code"], error["retryable"]) == (400, "BAD_REQUEST", False)
    assert all(word in error["message"] for word in words), error
    assert "secret" not in error["message"]
    assert len(error["message"]) < 150


def test_requests_that_name_no_operation_take_any_query(web):
    """The page's own files, which proxies and browsers may ask for with a parameter of theirs."""
    for path in ("/?utm=1", "/static/api.js?v=2", "/openapi.json?v=2", "/login?next=1"):
        assert web.ask("GET", path)[0] == 200
    assert web.fault("GET", "/nowhere?v=2") == (404, "NOT_FOUND")
    assert web.fault("DELETE", "/v1/streams?v=2") == (405, "BAD_METHOD")


def test_a_form_of_another_site_is_not_a_prompt(web):
    path = "/v1/streams/cam/prompts"
    body = b'{"points": [[0.5, 0.5]]}'
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json", "Origin": "http://evil.example"},
    ):
        request = urllib.request.Request(web.url + path.lstrip("/"), body, headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        refused.value.close()
        assert refused.value.code in (403, 415)
    assert web.objects() == []


def test_a_snapshot_with_and_without_masks(web):
    scene = Scene(SCENE)
    status, headers, jpeg = web.ask("GET", "/v1/streams/cam/snapshot.jpg")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    number = read_frame_code(decode_jpeg(jpeg, SIZE))
    x, y, w, h = scene.truth_box(number, 1)
    prompt(web, points=[], box=[x, y, x + w, y + h], coords="pixels", frame=int(headers["x-frame"]))
    wait_for(lambda: web.json("GET", "/v1/streams/cam/objects")["objects"], 10, "the object")
    picture = decode_jpeg(web.ask("GET", "/v1/streams/cam/snapshot.jpg?overlay=true&_=1")[2], SIZE)
    number = read_frame_code(picture)
    truth = scene.truth(number)[1]
    off = np.abs(picture.astype(int) - scene.render(number)).max(axis=2)
    assert np.median(off[truth]) > 15
    assert np.median(off[~truth]) < 10


def test_mjpeg_for_programs_that_know_nothing_else(web):
    numbers = []
    with urllib.request.urlopen(web.url + "v1/streams/cam/stream.mjpg", timeout=20) as response:
        boundary = response.headers["content-type"].partition("boundary=")[2]
        while len(numbers) < 5:
            assert response.readline().strip().decode() == f"--{boundary}"
            head = {}
            while line := response.readline().strip().decode():
                name, _, value = line.partition(": ")
                head[name] = value
            numbers.append(read_frame_code(decode_jpeg(response.read(int(head["Content-Length"])), SIZE)))
            response.readline()
    assert numbers == sorted(set(numbers))
    wait_for(lambda: b"streamseg_watching 0" in web.ask("GET", "/metrics")[2], 10, "its seat to be free")


def test_mjpeg_with_masks_for_programs_that_only_know_video(web):
    """FFmpeg reads it, and pictures are encoded only meanwhile."""

    def encoded():
        with Subscriber(web.endpoint, streams=["cam"], kinds=["status"]) as subscriber:
            return "image" in subscriber.receive().subscribed

    def count(picture, color):
        return (np.abs(picture.astype(int) - color).max(axis=2) < 25).sum()

    color = color_of(prompt(web)["object_id"])
    wait_for(lambda: web.json("GET", "/v1/streams/cam/objects")["objects"], 10, "the object")
    wait_for(lambda: not encoded(), 20, "nothing that watches")
    plain = decode_jpeg(web.ask("GET", "/v1/streams/cam/snapshot.jpg")[2], SIZE)
    url = web.url + "v1/streams/cam/stream.mjpg?overlay=true"
    with av.open(url, format="mpjpeg", timeout=30) as first, av.open(url, format="mpjpeg", timeout=30) as second:
        for each in (first, second):
            drawn = next(each.decode(video=0)).to_ndarray(format="rgb24")
            assert drawn.shape == plain.shape
            assert count(drawn, color) > count(plain, color) + 100  # its outline and its label
        wait_for(encoded, 10, "pictures that are encoded")
    wait_for(lambda: not encoded(), 20, "nothing that is encoded")


def test_metrics_are_in_prometheus_format(web):
    prompt(web)
    wait_for(lambda: b'streamseg_objects{stream="cam"} 1' in web.ask("GET", "/metrics")[2], 10, "the object counted")
    _, headers, data = web.ask("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    text = data.decode()
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith(("# HELP streamseg_", "# TYPE streamseg_")) or SAMPLE.fullmatch(line), line
    for name in (
        "frames_captured_total",
        "frames_tracked_total",
        "frames_repeated_total",
        "reconnects_total",
        "process_restarts_total",
        "up",
        "recompiles_total",
    ):
        assert f"\nstreamseg_{name}" in f"\n{text}"
    buckets = re.findall(r'streamseg_latency_seconds_bucket\{le="([^"]+)",stage="total",stream="cam"\} (\d+)', text)
    counts = [int(count) for _, count in buckets]
    assert buckets[-1][0] == "+Inf"
    assert counts == sorted(counts)
    assert counts[-1] == int(re.search(r'latency_seconds_count\{stage="total",stream="cam"\} (\d+)', text)[1]) > 0


def test_everything_is_described(web):
    document = web.json("GET", "/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert {"/healthz", "/metrics", "/v1/streams/{stream}/prompts"} <= set(document["paths"])


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: x", b"\x16\x03\x01\x02\x00", b"A" * 40_000])
def test_connections_that_send_no_request_do_no_harm(web, head):
    host, _, port = web.url.removeprefix("http://").rstrip("/").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.settimeout(20)
        try:
            connection.sendall(head)
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert web.json("GET", "/healthz")["ok"]


@pytest.mark.parametrize("path", ["/", "/static/main.js"])
def test_page_files_are_compressed_and_cached(web, path):
    status, headers, packed = web.ask("GET", path, headers={"Accept-Encoding": "gzip"})
    assert (status, headers["content-encoding"], headers["cache-control"]) == (200, "gzip", "no-cache")
    assert gzip.decompress(packed) == web.ask("GET", path)[2]
    again, _, data = web.ask("GET", path, headers={"If-None-Match": headers["etag"]})
    assert (again, data) == (304, b"")
    assert web.ask("GET", "/v1/streams")[1]["cache-control"] == "no-store"


def test_the_page_is_small():
    """152 kB in all, without compression."""
    assert sum(path.stat().st_size for path in STATIC.iterdir()) <= 152_000


def test_the_page_is_whole(web):
    status, headers, page = web.ask("GET", "/")
    assert status == 200
    assert "script-src 'self'" in headers["content-security-policy"]
    for path in re.findall(r"<([^>]+)>; rel=modulepreload", headers["link"]):
        assert web.ask("GET", f"/{path}")[0] == 200, path
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.decode()):
        assert web.ask("GET", path)[0] == 200, path
    assert not re.search(r"https?://(?!www\.w3\.org)", page.decode()), "nothing is fetched from elsewhere"
