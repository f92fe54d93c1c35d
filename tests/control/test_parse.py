"""Every kind of invalid request has its error code, and arbitrary bytes are rejected without harm."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamseg.control.parse import ParsedRequest, parse, request_id
from streamseg.errors import ControlError
from streamseg.protocol.arguments import AddPrompt, NoArgs, Rle
from streamseg.protocol.control import OPERATIONS


def request(**fields: object) -> list[bytes]:
    return [b"", json.dumps({"v": 1, "id": "r1", **fields}).encode()]


def refused(parts: list[bytes]) -> tuple[str, str]:
    with pytest.raises(ControlError) as caught:
        parse(parts)
    return caught.value.code, caught.value.message


def test_arguments_get_their_types():
    asked = parse(
        request(op="add_prompt", stream="cam", client="me", args={"points": [[0.5, 0.25], [1, 2, 0]], "frame": 7})
    )
    assert (asked.id, asked.client, asked.op, asked.stream) == ("r1", "me", "add_prompt", "cam")
    assert asked.args == AddPrompt(points=((0.5, 0.25), (1.0, 2.0, 0.0)), frame=7)
    mask = parse(request(op="add_prompt", stream="cam", args={"mask": {"size": [3, 4], "counts": "`3"}})).args
    assert mask == AddPrompt(mask=Rle((3, 4), "`3"))
    assert parse(request(op="list")).args == NoArgs()


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        ([], "BAD_REQUEST", "a message of 0 parts"),
        ([b"{}"], "BAD_REQUEST", "a message of 1 parts"),
        ([b"x", b"{}"], "BAD_REQUEST", "an empty one and the request"),
        ([b"", b"", b"{}"], "BAD_REQUEST", "a message of 3 parts"),
        ([b"", b""], "BAD_REQUEST", "not a JSON object"),
        ([b"", b"\xff\xfe"], "BAD_REQUEST", "not a JSON object"),
        ([b"", b"[" * 100_000], "BAD_REQUEST", "not a JSON object"),
        ([b"", b'{"id":' + b'{"a":' * 100_000], "BAD_REQUEST", "not a JSON object"),
        ([b"", b'{"v":1}'], "BAD_REQUEST", "missing required field `id`"),
        (request(op="list", v=2), "UNSUPPORTED_VERSION", "v is 2"),
        (request(op="list", v="1"), "BAD_REQUEST", "$.v"),
        ([b"", b'{"id":"x","op":"list"}'], "UNSUPPORTED_VERSION", "v is 0"),
        (request(op="list", id=""), "BAD_REQUEST", "$.id"),
        (request(op="list", id="x" * 65), "BAD_REQUEST", "$.id"),
        (request(op="list", lable="x"), "BAD_REQUEST", "unknown field `lable`"),
        (request(op="lst"), "UNKNOWN_OP", "did you mean list?"),
        (request(op="frobnicate"), "UNKNOWN_OP", "use one of hello, list"),
        (request(op="reset"), "BAD_REQUEST", "reset needs a stream"),
        (request(op="hello", stream="cam"), "BAD_REQUEST", "leave the field stream out"),
        (request(op="list", args=None), "BAD_REQUEST", "list: Expected `object`"),
        (request(op="list", args={"x": 1}), "BAD_REQUEST", "unknown field `x`"),
        (request(op="add_prompt", stream="cam", args={"points": [[1]]}), "BAD_REQUEST", "$.points[0]"),
        (request(op="add_prompt", stream="cam", args={"points": [[0, 0]] * 65}), "BAD_REQUEST", "$.points"),
        (request(op="add_prompt", stream="cam", args={"object_id": 0}), "BAD_REQUEST", "$.object_id"),
        (request(op="add_prompt", stream="cam", args={"object_id": 2**31}), "BAD_REQUEST", "$.object_id"),
        (request(op="add_prompt", stream="cam", args={"coords": "px"}), "BAD_REQUEST", "$.coords"),
        (request(op="add_prompt", stream="cam", args={"label": "x" * 101}), "BAD_REQUEST", "$.label"),
        (
            [b"", b'{"v":1,"id":"r","op":"add_prompt","stream":"c","args":{"points":[[1e999,1]]}}'],
            "BAD_REQUEST",
            "out of",
        ),
        (request(op="remove_object", stream="cam"), "BAD_REQUEST", "object_id"),
        (request(op="add_stream", stream="cam", args={"settings": []}), "BAD_REQUEST", "$.settings"),
    ],
)
def test_wrong_requests_are_refused_with_code_and_fix(parts, code, words):
    found, message = refused(parts)
    assert found == code
    assert words in message


def test_the_id_of_a_wrong_request_is_returned_if_it_can_be_read():
    assert request_id(request(op="lst")) == "r1"
    assert request_id(request(op="list", v=2)) == "r1"
    assert request_id(request(op="list", id="x" * 70)) == "x" * 64
    assert request_id([]) == request_id([b"", b"nonsense"]) == request_id([b"", b'{"id":5}']) == ""


def test_requests_for_the_same_are_known_however_they_are_written():
    one = parse([b"", b'{"v":1,"id":"a","op":"pause","stream":"cam"}'])
    other = parse([b"", b'{ "op":"pause", "args": {}, "stream":"cam", "id":"b","v":1}'])
    assert one.data == other.data
    assert one.data != parse([b"", b'{"v":1,"id":"a","op":"resume","stream":"cam"}']).data


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_near_right = st.fixed_dictionaries(
    {"v": st.just(1) | _json, "id": st.text(max_size=70) | _json, "op": st.sampled_from([*OPERATIONS]) | _json},
    optional={"stream": st.sampled_from(["cam"]) | _json, "client": _json, "args": _json, "x": _json},
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4) | st.builds(lambda data: [b"", data], _near_right))
def test_anything_is_a_request_or_is_refused(parts):
    assert isinstance(request_id(parts), str)
    found: ParsedRequest | ControlError
    try:
        found = parse(parts)
    except ControlError as error:
        found = error
    if isinstance(found, ParsedRequest):
        assert found.op in OPERATIONS
    else:
        assert found.code in ("BAD_REQUEST", "UNSUPPORTED_VERSION", "UNKNOWN_OP")
        assert found.message


def test_settings_are_small():
    """They are passed through pipes to busy processes, which a megabyte would hold up."""
    with pytest.raises(ControlError, match="the limit is 16384") as error:
        parse(request(op="add_stream", stream="cam2", args={"settings": {"source": "x" * 20_000}}))
    assert error.value.code == "BAD_REQUEST"
