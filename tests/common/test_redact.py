import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamseg.common.redact import redact

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("rtsp://admin:hunter2@cam/x", "rtsp://admin:***@cam/x"),
        ("rtsp://admin:hunter2@cam:554/x?y=1", "rtsp://admin:***@cam:554/x?y=1"),
        ("rtsp://:hunter2@cam", "rtsp://:***@cam"),
        ("rtsp://admin:hun@ter2/hunter2?#@cam/x", "rtsp://admin:***@cam/x"),
        ("rtsp://admin:hunt'er2\"hunter2@cam/x", "rtsp://admin:***@cam/x"),
        ("open 'rtsp://admin:hunter2@cam/x', again", "open 'rtsp://admin:***@cam/x', again"),
        ('{"a":"rtsp://u:hunter2@h","b":"me@example.org"}', '{"a":"rtsp://u:***@h","b":"me@example.org"}'),
        ("http://u:hunter2@a,http://u:hunter2@b", "http://u:***@b"),
        ("rtsp://me@corp.com:hunter2@127.0.0.1:1/x", "rtsp://me@corp.com:***@127.0.0.1:1/x"),
        ("cannot open rtsp://u:my hunter2@h/x: refused", "cannot open rtsp://u:***@h/x: refused"),
        ("rtsp://u:12 hunter2@h/x", "rtsp://u:***@h/x"),
        ("rtsp://u:p@ss hunter2@h/x", "rtsp://u:***@h/x"),
        ("rtsp://my name:hunter2@h/x", "rtsp://my name:***@h/x"),
        ("rtsp://a:p',hunter2@host/1 x", "rtsp://a:***@host/1 x"),
        ("open 'rtsp://a:p',hunter2@host/1': x", "open 'rtsp://a:***@host/1': x"),
        ("open 'rtsp://a:p@',hunter2@host/1': x", "open 'rtsp://a:***@host/1': x"),
        ("'rtsp://a:b c hunter2@host/1'", "'rtsp://a:***@host/1'"),
        ("rtsp://group/me:hunter2@h/x", "rtsp://group/me:***@h/x"),
        ("rtsp://u:hunter2@a/1 and rtsp://v:hunter2@b/2", "rtsp://u:***@a/1 and rtsp://v:***@b/2"),
        ("a rtsp://u:hunter2@a/1\nb me@example.org", "a rtsp://u:***@a/1\nb me@example.org"),
        ("http:/u:hunter2@h/x.jpg: there is no such file", "http:/u:***@h/x.jpg: there is no such file"),
        ("RTSP:/u:my hunter2@h/x and rtsps:/hunter2@h", "RTSP:/u:***@h/x and rtsps:/***@h"),
        ("https:/h/x?token=hunter2", "https:/h/x?token=***"),
        ("door_rtsp:/u:hunter2@h/x is no file", "door_rtsp:/u:***@h/x is no file"),
        ("rtmp+listen:/h/app/hunter2", "rtmp+listen:/h/app/***"),
        ("rtmp://live.example/app/hunter2: refused", "rtmp://live.example/app/***: refused"),
        ("['rtmps://u:pw@h:1/app/x/hunter2?a=hunter2', 1]", "['rtmps://u:***@h:1/app/x/***?a=***', 1]"),
        ("RTMP+listen://h/app/hunter2/, again", "RTMP+listen://h/app/***/, again"),
        ("https://hunter2@github.example/x", "https://***@github.example/x"),
        ("http://cam/?to=rtsp://u:hunter2@h", "http://cam/?to=***"),
        ("rtsp://cam/live?user=a&password=hunter2&channel=1", "rtsp://cam/live?user=a&password=***&channel=1"),
        ("rtsp://cam:554/user=admin&password=hunter2&channel=1", "rtsp://cam:554/user=admin&password=***&channel=1"),
        ("rtsp://cam/user=admin_password=hunter2_channel=1", "rtsp://cam/user=admin_password=***"),
        ("http://cam/?usr=a&pwd=hunter2", "http://cam/?usr=a&pwd=***"),
        ("http://cam/?auth=hunter2&x=1", "http://cam/?auth=***&x=1"),
        ("http://cam/?access_token=hunter2", "http://cam/?access_token=***"),
        ("http://cam/a?jwt=x'y\"hunter2, again", "http://cam/a?jwt=***, again"),
        ("http://cam/a?p=1;hunter2=x", "http://cam/a?p=***"),
        ("http://cam/a?p=x&hun'ter2;hunter2=", "http://cam/a?p=***&***"),
        ("http://cam/a?w=hunter2&channel=hun4ter2x", "http://cam/a?w=***&channel=***"),
        ("[http://cam/a#hunter2] and rtsp://u:x@h/a?y=1#hunter2.", "[http://cam/a#***] and rtsp://u:***@h/a?y=1#***."),
        ("rtsp://10.0.0.1:554/a?hmac=x@hunter2", "rtsp://10.0.0.1:554/a?hmac=***"),
        ("rtsp://[::1]/a?hmac=hunter2@x#hunter2@y", "rtsp://[::1]/a?hmac=***#***"),
        ("rtsp://u:hunter2@cam:554/a#x@hunter2", "rtsp://u:***@cam:554/a#***"),
        ("rtsp://u:hunter2?x@hunter2", "rtsp://***"),
        ("rtsp://hun/ter2/hunter2@10.0.0.1/x", "rtsp://***@10.0.0.1/x"),
        ("rtsp://hun/hunter2@cam:554/x", "rtsp://***@cam:554/x"),
        ("PASSWORD='hunter2 hunter2' x", "PASSWORD=*** x"),
        ('{"password": "hunter2", "user": "a"}', '{"password": "***", "user": "a"}'),
        ("{'api_key': 'hunter2'}", "{'api_key': \"***\"}"),
        ("Authorization: Basic hunter2==\r\nHost: cam", "Authorization: Basic ***\r\nHost: cam"),
        ('authorization: Digest username="a", response="hunter2"', "authorization: Digest ***"),
    ],
)
def test_passwords_are_replaced(text, redacted):
    assert redact(text) == redacted
    assert SECRET not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtsp://cam:554/stream1",
        "rtsp://cam/profile@2x",
        "write rtmp://HOST/PATH, or rtmp://HOST/APP/${KEY}",
        "rtmp://live.example, rtmp://live.example/",
        "rtsp://10.0.0.1/x failed at 12:30 @ home, mail me@example.org",
        "https://host.example: mail me@example.org",
        "'rtsp://cam:554/x', mail me@example.org",
        "ipc:///run/pub at 12:30, mail me@example.org",
        "[('tcp://127.0.0.1:5555', 'me@example.org')]",
        "tcp://127.0.0.1:5555 and mail to me@example.org",
        "wrong user or password: set CAM_PASSWORD",
        "key=3 obj_id=4 auth: none",
        "scene:default?seed=1",
        "12:30 @ home",
        "write rtsp://USER:${CAM_PASSWORD}@HOST/PATH and set that variable",
    ],
)
def test_text_without_passwords_is_unchanged(text):
    assert redact(text) == text


@given(st.text(st.characters(blacklist_categories=("Zl", "Zp", "C")), min_size=1))
def test_no_password_of_an_address_is_left(password):
    text = redact(f"cannot open rtsp://admin:{password}Hunter2@cam.example/x: refused")
    assert text == "cannot open rtsp://admin:***@cam.example/x: refused"


_PIECES = ["://", "a", ".b", ":", "1", "@", "/", "'", '"', " ", "\n", ",", "}", "?", "password=", "&key=", "'pwd':"]


@settings(max_examples=1000)
@given(
    st.text(alphabet="ab:/@?=&'\" ,}{password", max_size=80)
    | st.lists(st.sampled_from([*_PIECES, "authorization: b "]), max_size=24).map("".join)
)
def test_redacting_twice_gives_the_same(text):
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "://",
        "://a:",
        "@",
        "'",
        '"password":"',
        "password=",
        "password='",
        "authorization: ",
        " ",
        "&key=",
        " a://",
        "'a://b",
        "://a.b ",
        "'://a',",
    ],
)
@pytest.mark.parametrize("repeats", [100_000, pytest.param(500_000, marks=pytest.mark.long)])
def test_long_text_takes_linear_time(piece, repeats):
    text = piece * repeats
    before = time.process_time()
    assert len(redact(f"{text}@")) >= 3
    # At most 6 microseconds for each piece; in quadratic time, 100 or more.
    assert time.process_time() - before < repeats * 50e-6
