"""Addresses hide their own secrets, and an invalid address raises nothing but a ConfigError."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamseg.config.load import config_from_mapping, stream_from_mapping
from streamseg.errors import ConfigError
from streamseg.sources.address import SourceAddress, describe, local_path, shown_address

SECRET = "Tr0ub4dor"


def refusal(function, argument):
    """The message of a ConfigError, empty without one; anything else is raised."""
    try:
        function(argument)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:Tr0ub4dor#3@host/",
        "rtsp://admin:Tr0ub4dor/3@host/",
        "rtsp://admin:Tr0ub4dor?3@host/x",
        "rtsp://admin:#Tr0ub4dor@host/",
        "rtsp://admin:1/Tr0ub4dor@host:554/x",
        "rtsp://admin:p@Tr0ub4dor#3@host/",
        "rtsp://admin:Tr0ub4dor",  # cut at a & by the shell
        "rtsp://admin:[Tr0ub4dor/@host/",
        "RTSP://admin:Tr0ub4dor:x@:99999/",
        "http://Tr0ub4dor:x:y/",
        "rtps://admin:Tr0ub4dor#3@host/",
        "rtsp:admin:Tr0ub4dor@host/",
        "rtsp:/admin:Tr0ub4dor@host/",
        "admin:Tr0ub4dor@host/x",
        "lavfi:movie=rtsp\\://u\\:Tr0ub4dor@h",
        "192.0.2.1:554/x?p=Tr0ub4dor",
        *(
            f"http://cam/v.cgi?user=admin&{key}=Tr0ub4dor&channel=1"
            for key in ("pw", "p", "loginpas", "authbasic", "jwt", "sid", "hmac", "PWD", "x-key", "user2", "")
        ),
        "http://cam/v.cgi?Tr0ub4dor",
        "rtsps://cam/live/token/Tr0ub4dor",
        "http://cam/api/access_key/Tr0ub4dor/x.m3u8?channel=1",
        "webcam:admin:Tr0ub4dor@host",
        "screen:admin:Tr0ub4dor@host:0",
        "http://cam/v.cgi?channel=1;pw=Tr0ub4dor",
        "http://cam/v.cgi?user=admin:Tr0ub4dor",
        "rtsp://cam/user=admin&password=Tr0ub4dor&channel=1",
        "rtsp://cam/user=admin_password=Tr0ub4dor_channel=1.sdp",
        "rtsp://Tr0ub4dor@cam/1",
        "rtsp://a/Tr0ub4dor@cam/1",
        "rtsp://Tr0ub4dor?x@cam/1",
        "rtsp://{/Tr0ub4dor(@cam",
        "http://cam/a?jwt=x;Tr0ub4dor=y",
        "http://cam/a?jwt=x&y^Tr0ub4dor=",
        "rtsp://cam/a?width=Tr0ub4dor&user=Tr0ub4dor",
        "rtmp://live.example/app/Tr0ub4dor",
        "rtmps://user:pw@live.example:443/app/instance/Tr0ub4dor?x=1",
        "RTMP://live.example/app/Tr0ub4dor/",
        "rtmp+listen://127.0.0.1:1935/app/Tr0ub4dor",
        "srt://10.0.0.4:9000?mode=caller&streamid=Tr0ub4dor",
        "http://cam/v.cgi?channel=1#Tr0ub4dor",
        "rtsp://cam/live#Tr0ub4dor?x=1",
    ],
)
def test_no_secret_of_an_address_is_shown(address):
    parsed = SourceAddress.of(address)
    assert SECRET not in parsed.shown
    assert SECRET not in f"{parsed} {parsed!r}"
    assert SECRET not in parsed.without_secrets(f"FFmpeg: cannot open {address}: port {SECRET} is not a number")
    for mapping in ({"source": address}, {"source": address, "loop": True}, {"source": [address]}):
        assert SECRET not in refusal(config_from_mapping, {"streams": {"cam": mapping}})


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtmp://h/app/key", "rtmp://h/app/***"),
        ("rtmp://h/key", "rtmp://h/***"),
        ("rtmp://h/", "rtmp://h/"),
        ("rtmp://h", "rtmp://h"),
        ("rtsp://h/app/stream1", "rtsp://h/app/stream1"),
    ],
)
def test_the_stream_key_of_rtmp_is_the_last_segment(address, shown):
    assert SourceAddress.of(address).shown == shown


def test_a_short_path_of_rtmp_leaves_prose_alone():
    assert SourceAddress.of("rtmp://h/live").without_secrets("it was not delivered") == "it was not delivered"


@pytest.mark.parametrize("password", ["Tr0ub4dor#3", "Tr0ub4dor/3", "Tr0ub4dor?3"])
def test_an_unencoded_password_is_refused_with_the_way_to_write_it(password):
    with pytest.raises(ConfigError) as caught:
        describe(f"rtsp://admin:{password}@host/")
    assert "percent-encode" in str(caught.value)
    assert "rtsp://USER:${CAM_PASSWORD}@HOST/PATH" in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:s3cret@cam:554/Streaming/Channels/101", "rtsp://admin:***@cam:554/Streaming/Channels/101"),
        ("rtsp://u:p@ss@cam/1", "rtsp://u:***@cam/1"),
        ("rtsp://cam/cam/realmonitor?channel=1&subtype=0", "rtsp://cam/cam/realmonitor?channel=1&subtype=0"),
        ("http://cam/axis-media?resolution=640x480&fps=10", "http://cam/axis-media?resolution=640x480&fps=10"),
        ("rtsps://[2001:db8::1]:322/a", "rtsps://[2001:db8::1]:322/a"),
        ("rtsp://cam/profile@2x", "rtsp://cam/profile@2x"),
        ("scene:default?seed=1&size=320x180", "scene:default?seed=1&size=320x180"),
        ("/data/clip.mp4", "/data/clip.mp4"),
        ("caf\udce9/clip.mp4", "caf\\xe9/clip.mp4"),
    ],
)
def test_addresses_without_secrets_are_unchanged(address, shown):
    assert shown_address(address) == shown


def test_a_password_in_a_foreign_message_is_replaced_exactly():
    address = SourceAddress.of("rtsp://admin:p%40ss-w0rd@cam/1?pw=q%C3%BCery")
    for text in ("tried p%40ss-w0rd", "tried p@ss-w0rd", "tried q%C3%BCery", "tried qüery"):
        assert address.without_secrets(text) == "tried ***"


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            [*":/@?#&=.[]%~ ", "rtsp", "http", "file", "webcam", "scene", "lavfi", "::1", "9" * 20, "\0", "é"]
        ),
        max_size=12,
    ).map("".join)
)
@example("~nouser/clip.mp4")
@example("webcam:" + "9" * 5000)
@example("webcam:" + "\u0661" * 3)
@example("file://[x/y")
@example("\ud800")
@example("a" * 100_000)
@example("/" * 5000 + "x")
def test_any_address_is_accepted_or_raises_a_config_error(address):
    shown_address(address).encode()
    local_path(address)
    for value in (address, f"rtsp://{address}", f"~{address}", f"scene:{address}", f"http://{address}"):
        stream = {"source": value, "prompts": [{"object": 1, "mask": value}]}
        refusal(config_from_mapping, {"streams": {"cam": stream}}).encode()


def test_a_password_of_any_characters_is_shown_nowhere():
    @settings(max_examples=300, deadline=None)
    @given(st.text("#/?@:&=%[]' \"$;,abc1", min_size=1, max_size=12))
    def check(password):
        address = f"rtsp://admin:{password}{SECRET}@cam.example/x"
        assert SECRET not in shown_address(address)
        assert SECRET not in refusal(describe, address)

    check()


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://cam/Streaming/Channels/101",
        "http://cam/recordings/20260131_front_door_camera12_720p.mp4",
        "http://cam/axis-cgi/mjpg/video-with-a-long-name.cgi",
        "rtsp://cam/h264Preview_01_main",
        "http://cam/01234567890123456789/x.m3u8",
    ],
)
def test_names_of_files_are_shown(address):
    assert SourceAddress.of(address).shown == address


@pytest.mark.parametrize(
    ("address", "token"),
    [
        ("http://127.0.0.1:9/{}/v.m3u8", "Zebra7tokenabcdef0123456789abcdef0123456789"),
        ("https://cam/hls/{}/x.m3u8", "550e8400-e29b-41d4-a716-446655440000"),
        ("rtsp://cam/{}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9"),
    ],
)
def test_tokens_in_the_path_are_hidden(address, token):
    parsed = SourceAddress.of(address.format(token))
    assert token not in parsed.shown
    assert token not in parsed.without_secrets(f"cannot open {address.format(token)}: /{token}: 404")


@pytest.mark.parametrize("address", ["/dev/video" + "7" * 4000, "/dev/video12345", "/dev/video\u0663", "/dev/video"])
def test_an_invalid_device_number_is_not_a_webcam(address):
    with pytest.raises(ConfigError, match="is not a webcam: write webcam:NUMBER, for example webcam:0"):
        describe(address)


@pytest.mark.parametrize("display", [":" + "1" * 4000, "x" * 400 + ":0", ":0.1234", ":\u0660"])
def test_an_invalid_screen_is_refused(display):
    with pytest.raises(ConfigError, match="is not a screen"):
        describe(f"screen:{display}")


@pytest.mark.parametrize("pattern", ["*.png", "img%03d.png", "shot?.jpg", "[ab].bmp", "*"])
def test_a_pattern_that_matches_nothing_is_refused(tmp_path, pattern):
    """Also what comes with a request: a daemon would try to open it for ever."""
    with pytest.raises(ConfigError, match="matches no files: check the path"):
        stream_from_mapping("cam", {"source": str(tmp_path / pattern)}, max_objects=1)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ConfigError, match=r"contains no images \(\.jpg"):
        describe(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"")  # what is in it shows when it is opened
    assert describe(str(tmp_path)).kind == "images"
    assert describe(str(tmp_path / "*.png")).kind == "images"
