"""The page's WebSocket with a real daemon: one frame in flight, the newest one, and bounds."""

from __future__ import annotations

import time
import urllib.request

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from streamseg.client import Controller
from streamseg.client.jpeg import decode_jpeg
from streamseg.sources.scene.code import read_frame_code
from streamseg.sources.scene.source import Scene
from tests.e2e.daemon_process import wait_for
from tests.web.live_client import LiveClient
from tests.web.web_daemon import SCENE, STREAMS


def test_picture_and_masks_are_of_the_same_frame(web, control):
    scene = Scene(SCENE)
    with LiveClient(web.url) as client:
        client.watch("cam")
        frame = client.next_frame()
        x, y, w, h = scene.truth_box(frame.header["pts"], 1)
        made = control.add_prompt("cam", box=(x, y, x + w, y + h), coords="pixels", frame=frame.header["frame"])
        seen = 0
        while seen < 20:
            client.acknowledge(frame)
            frame = client.next_frame()
            if frame.header["stream"] != "cam" or not frame.header["objects"]:
                continue
            seen += 1
            number = read_frame_code(decode_jpeg(frame.jpeg, tuple(frame.header["size"])))
            assert number == frame.header["pts"]
            truth = scene.truth(number)[1]
            mask = frame.mask(made.object_id)
            assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.9


def test_no_frame_is_sent_until_the_last_one_is_acknowledged(web):
    with LiveClient(web.url) as client:
        client.watch("cam")
        first = client.next_frame()
        late = time.monotonic() + 2
        while time.monotonic() < late:  # just after the start, several texts come at once
            assert client.next_text_only()["type"] in ("status", "daemon", "event")
        client.acknowledge(first)
        second = client.next_frame()
        assert second.header["screen_ms"] > 500, "the first one was long on its way to the screen"
        while second.header["stream"] != first.header["stream"]:  # a small picture of another stream
            client.acknowledge(second)
            second = client.next_frame()
        assert second.header["frame"] > first.header["frame"] + 5, "the newest, not the next"


def test_a_wrong_acknowledgement_changes_nothing(web):
    with LiveClient(web.url) as client:
        client.watch("cam")
        frame = client.next_frame()
        client.send({"type": "ack", "n": frame.header["n"] + 1})
        assert client.next_text_only()["type"] in ("status", "daemon", "event")
        client.acknowledge(frame)
        client.next_frame()


def test_a_page_gets_all_it_needs_at_once(web):
    with LiveClient(web.url) as client:
        daemon = client.next_text("daemon")
        assert daemon["streams"] == ["cam", "yard"]
        assert daemon["daemon"]["model"] == "colour"
        assert {client.next_text("status")["status"]["id"] for _ in range(4)} == {"cam", "yard"}


def test_other_streams_come_as_tiles(web):
    with LiveClient(web.url) as client:
        client.watch("cam")
        streams = set()
        while len(streams) < 2:
            frame = client.next_frame()
            streams.add(frame.header["stream"])
            client.acknowledge(frame)
        client.watch("yard")
        sizes = set()
        while (320, 180) not in sizes:
            frame = client.next_frame()
            sizes.add(tuple(frame.header["size"]))
            client.acknowledge(frame)


def test_the_streams_of_a_grid_are_all_live_with_one_picture_of_each_in_flight(web):
    with LiveClient(web.url) as client:
        client.watch("cam", grid=("cam", "yard", "nowhere"))
        first = [client.next_frame(), client.next_frame()]
        assert {frame.header["stream"] for frame in first} == {"cam", "yard"}
        for _ in range(4):
            assert client.next_text_only()["type"] in ("status", "daemon", "event")
        (yard,) = [frame for frame in first if frame.header["stream"] == "yard"]
        client.acknowledge(yard)
        began = time.monotonic()
        for _ in range(10):
            frame = client.next_frame()
            assert frame.header["stream"] == "yard", "the picture of the other one is still in flight"
            client.acknowledge(frame)
        assert time.monotonic() - began < 8, "as tiles, at one a second, they would take nine"
        client.watch("cam")
        client.acknowledge(next(frame for frame in first if frame is not yard))
        streams = []
        while streams.count("cam") < 10:
            frame = client.next_frame()
            streams.append(frame.header["stream"])
            client.acknowledge(frame)


def test_a_stream_that_is_not_there_is_not_an_error(web):
    with LiveClient(web.url) as client:
        client.watch("nowhere")
        client.next_text("status")
        client.watch("cam")
        assert client.next_frame()


def test_a_stream_that_goes_and_comes_again_is_shown_again(start):
    daemon = start()
    with LiveClient(daemon.url) as client, Controller(f"ipc://{daemon.runtime}/streamseg-control") as control:
        client.watch("yard")
        client.acknowledge(client.next_frame())
        control.remove_stream("yard")
        while "yard" in client.next_text("daemon")["streams"]:
            pass
        control.add_stream("yard", STREAMS["yard"])
        while "yard" not in client.next_text("daemon")["streams"]:
            pass
        sizes = set()
        while (320, 180) not in sizes:
            frame = client.next_frame()
            sizes.add(tuple(frame.header["size"]))
            client.acknowledge(frame)


@pytest.mark.parametrize(
    "message",
    ["", "{}", "[]", "null", '{"type": "watch"}', '{"type": "watch", "stream": 1}', '{"type": "dance"}', "[" * 4000],
)
def test_an_invalid_message_ends_only_its_connection(web, message):
    with LiveClient(web.url) as client:
        client.connection.send(message)
        assert client.closed_with()[0] == 1008
    assert web.json("GET", "/healthz")["ok"]


def test_a_message_without_end_is_refused(web):
    with LiveClient(web.url) as client:
        client.connection.send("x" * 5000)
        assert client.closed_with()[0] == 1009


def test_another_site_gets_no_connection(web):
    with pytest.raises(InvalidStatus) as refused:
        LiveClient(web.url, origin="http://evil.example")
    assert refused.value.response.status_code == 403


def test_pictures_are_encoded_only_while_they_are_watched(web):
    def wanted():
        text = web.json("GET", "/v1/streams/cam")
        return text["drops"], web.ask("GET", "/metrics")[2]

    with LiveClient(web.url) as client:
        client.watch("cam")
        client.next_frame()
        assert b"streamseg_watching 1" in wanted()[1]
    wait_for(lambda: b"streamseg_watching 0" in wanted()[1], 10, "no viewers")


def test_viewers_are_bounded_and_the_next_one_is_refused(start):
    daemon = start(max_clients=2)
    with LiveClient(daemon.url) as one, LiveClient(daemon.url) as two, LiveClient(daemon.url) as three:
        one.next_text("daemon")
        two.next_text("daemon")
        code, reason = three.closed_with()
        assert code == 1013
        assert "http.max_clients" in reason
        assert daemon.fault("GET", "/v1/streams/cam/snapshot.jpg") == (503, "BUSY")
    wait_for(lambda: daemon.ask("GET", "/v1/streams/cam/snapshot.jpg")[0] == 200, 10, "a free seat")


def test_the_daemon_ends_in_time_while_it_is_watched(start):
    daemon = start()
    with (
        LiveClient(daemon.url) as client,
        urllib.request.urlopen(f"{daemon.url}v1/streams/cam/stream.mjpg") as pictures,
    ):
        client.watch("cam")
        client.next_frame()
        assert pictures.readline()
        began = time.monotonic()
        assert daemon.end() == 0
        assert time.monotonic() - began < 20  # about 1 s on a quiet machine; the viewers never leave
        assert client.closed_with()[0] in (1006, 1012)
    assert "Traceback" not in daemon.log


def test_a_browser_that_reads_nothing_hurts_only_itself(web):
    with LiveClient(web.url, max_queue=1) as stuck, LiveClient(web.url) as client:
        stuck.watch("cam")
        client.watch("cam")
        ages = []
        while len(ages) < 20:
            frame = client.next_frame()
            if frame.header["stream"] == "cam":
                ages.append(frame.header["age_ms"])
            client.acknowledge(frame)
        assert sorted(ages)[10] < 1000
