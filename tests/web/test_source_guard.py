"""Which addresses an HTTP client may have the daemon open."""

from __future__ import annotations

import asyncio
import socket

import pytest

from streamseg.config.schema import HttpConfig
from streamseg.web.api_error import ApiError
from streamseg.web.source_guard import check_source


def check(source, **http):
    asyncio.run(check_source(source, HttpConfig(**http)))


@pytest.mark.parametrize(
    "source",
    ["rtsp://192.0.2.20/stream1", "rtsps://me:pass@198.51.100.4:322/a", "https://203.0.113.9/a.mp4?b=c.m3u8",
     "webcam:0", "RTSP://[2001:db8:1::5]:554/x"],
)  # fmt: skip
def test_cameras_are_allowed(source):
    check(source)


@pytest.mark.parametrize(
    "source",
    ["/etc/passwd", "file:///etc/passwd", "lavfi:testsrc2", "scene:simple", "udp://192.0.2.1:5", "rtsp+listen://0.0.0.0/x",
     "snapshot+http://192.0.2.1/x.jpg", "concat:/etc/passwd", "webcam:0/../../x", "-", "", "screen:"],
)  # fmt: skip
def test_other_kinds_need_a_setting_that_the_message_names(source):
    with pytest.raises(ApiError, match=r"http\.allow_files"):
        check(source)
    check(source, allow_files=True)


@pytest.mark.parametrize("name", ["a.m3u8", "A.M3U8?token=x", "a.m3u#b", "a.mpd", "a.sdp"])
def test_playlists_need_a_setting_that_the_message_names(name):
    with pytest.raises(ApiError, match=r"playlist .* http\.allow_own_addresses"):
        check(f"https://203.0.113.9/{name}")
    check(f"https://203.0.113.9/{name}", allow_own_addresses=True)


@pytest.mark.parametrize("character", ["\0", "\n", "\x7f"])
def test_control_characters_are_refused(character):
    with pytest.raises(ApiError, match="control character"):
        check(f"rtsp://192.0.2.1/{character}x", allow_files=True, allow_own_addresses=True)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "017700000001", "0.0.0.0", "0",
     "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
     "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1",
     "me:secret@127.0.0.1", "192.0.2.1@127.0.0.1", "a@192.0.2.1:80@127.0.0.1", "127.0.0.1:8080"],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_own_services_need_a_setting_that_the_message_names(scheme, host):
    with pytest.raises(ApiError, match=r"http\.allow_own_addresses") as refused:
        check(f"{scheme}://{host}/x")
    assert "secret" not in refused.value.message
    check(f"{scheme}://{host}/x", allow_own_addresses=True)


def test_this_machine_s_address_in_its_network():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        own = probe.getsockname()[0]
    with pytest.raises(ApiError, match="this machine"):
        check(f"rtsp://{own}/x")


@pytest.mark.parametrize(
    "source", ["rtsp://Tr0ub4dor#3@cam/1", "http://admin:Tr0ub4dor?3@cam/", "rtsp://admin:Tr0ub4dor/3@cam/"]
)
def test_a_password_that_is_not_encoded_is_not_taken_for_a_host(source):
    with pytest.raises(ApiError, match="percent-encode") as refused:
        check(source)
    assert "Tr0ub4dor" not in refused.value.message


@pytest.mark.parametrize("source", ["rtsp://", "http:///x", "rtsp://no-such-host.invalid/x", "http://[::1/x"])
def test_an_address_without_a_host_that_exists(source):
    with pytest.raises(ApiError) as refused:
        check(source)
    assert refused.value.status in (422, 504)
