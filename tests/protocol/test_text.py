"""Text that leaves a process is valid UTF-8, whatever its origin."""

from __future__ import annotations

import os

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamseg.ipc.messages import CaptureReport, decode, encode
from streamseg.protocol.text import encode_json, valid_text


@given(st.binary(max_size=60))
def test_any_path_can_be_shown(name: bytes):
    text = valid_text(os.fsdecode(name))
    assert text.encode().decode() == text
    if name.isascii():
        assert text == os.fsdecode(name)


@given(st.text(st.characters(), max_size=40))
def test_any_text_can_be_shown_and_valid_text_stays(text: str):
    shown = valid_text(text)
    shown.encode()
    if not any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        assert shown == text


def test_bytes_that_are_not_utf_8_become_escapes():
    assert valid_text(os.fsdecode(b"/old/caf\xe9/\xc3\xa9.mp4")) == "/old/caf\\xe9/é.mp4"
    assert valid_text("\ud800") == "\\ud800"


def test_messages_with_such_text_are_encoded():
    report = CaptureReport("cam", "streaming", "/caf\udce9/x", (1, 2), 1.0, 3, 0, 0, {"a\udce9": 1}, "é")
    assert decode(encode(report)) == CaptureReport(
        "cam", "streaming", "/caf\\xe9/x", (1, 2), 1.0, 3, 0, 0, {"a\\xe9": 1}, "é"
    )
    encoded = encode_json({"a": ["\udce9", 1, None], "raw": msgspec.Raw(b'{"b":2}')})
    assert msgspec.json.decode(encoded) == {"a": ["\\xe9", 1, None], "raw": {"b": 2}}
