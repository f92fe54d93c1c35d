"""Every kind of invalid request has its error code, and arbitrary bytes are rejected without harm."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamseg.control.parse import ParsedRequest, check_prompts, parse, request_id
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
    mask = parse(wrong_prompt(mask={"size": [3, 4], "counts": "`3"})).args
    assert mask == AddPrompt(mask=Rle((3, 4), "`3"))
    assert parse(request(op="list")).args == NoArgs()


def wrong_prompt(**args: object) -> list[bytes]:
    return request(op="add_prompt", stream="cam", args=args)


WRONG_FIELDS = [
    ({"object_id": 2.0}, "add_prompt: object_id: 2.0 is invalid: expected a whole number from 1 to 2147483647"),
    ({"object_id": "2"}, 'object_id: "2" is invalid: expected a whole number'),
    ({"object_id": True}, "object_id: true is invalid: expected a whole number"),
    ({"candidates": 2}, "candidates: 2 is invalid: expected 1 or 3"),
    ({"candidate": 3}, "candidate: 3 is invalid: expected a whole number from 0 to 2"),
    ({"candidate": -1}, "candidate: -1 is invalid"),
    ({"frame": -1}, "frame: -1 is invalid: expected a whole number of at least 0"),
    ({"frame": 1.5}, "frame: 1.5 is invalid"),
    ({"preview": 1}, "preview: 1 is invalid: expected true or false"),
    ({"on_expired": "new"}, 'on_expired: "new" is invalid: expected error or newest'),
    ({"label": 5}, "label: 5 is invalid: expected text"),
    ({"box": [1, 2, 3]}, "box: [1, 2, 3] is invalid: expected a list of 4 numbers"),
    ({"box": [1, None, 3, 4]}, "box: [1, null, 3, 4] is invalid: expected a list of 4 numbers (null is what many"),
    ({"box": "1,2,3,4"}, "expected a list of 4 numbers"),
    ({"points": [[None, 0.5]]}, "points[0][0]: null is invalid: expected a number (null is what many JSON encoders"),
    ({"points": [0.5, 0.5]}, "points[0]: 0.5 is invalid: expected a list of 2 to 3 numbers"),
    ({"points": [[1, 2, 3, 4]]}, "points[0]: [1, 2, 3, 4] is invalid: expected a list of 2 to 3 numbers"),
    ({"points": None}, "points: null is invalid: expected a list of 0 to 64 lists of 2 to 3 numbers"),
    ({"mask": {"size": [1], "counts": ""}}, "mask.size: [1] is invalid: expected a list of 2 numbers"),
    ({"mask": {"size": [1, 1], "counts": 5}}, "mask.counts: 5 is invalid: expected text"),
    ({"mask": {"size": [1, 1]}}, "mask.counts is missing: expected text"),
    ({"mask": [[0, 1]]}, "mask: [[0, 1]] is invalid: expected a JSON object with the fields size, counts"),
    ({"point": [[0, 1]]}, "point: there is no such field; did you mean points?"),
    ({"object_id": 10**30}, "object_id: a number of many digits is invalid: expected a whole number"),
]
"""Fields of add_prompt, and the words of the refusal. The decoder's own words never reach a user."""


def test_too_long_a_list_of_prompts_names_its_limit():
    prompts = [{"object_id": number + 1, "points": [[0.5, 0.5]]} for number in range(257)]
    message = refused(request(op="set_prompts", stream="cam", args={"prompts": prompts}))[1]
    assert message.startswith("set_prompts: prompts: a list of 257 is invalid: expected a list of 0 to 256 groups")


def test_no_message_has_the_decoders_own_words():
    for args, _ in WRONG_FIELDS:
        message = refused(wrong_prompt(**args))[1]
        assert "`" not in message
        assert "$" not in message


@pytest.mark.parametrize("label", ["a\nb", "\x1b[31mred", "tab\t", "\u202egnp.exe", "\u2028", "\x9b1m", "\x00"])
@pytest.mark.parametrize("op", ["add_prompt", "label_object", "set_prompts"])
def test_labels_hold_nothing_that_is_not_for_display(op, label):
    of_object = {"object_id": 1, "label": label}
    args = {"prompts": [{**of_object, "points": [[0.5, 0.5]]}]} if op == "set_prompts" else of_object
    with pytest.raises(ControlError, match=r"label: .* which is not for display: remove it"):
        check_prompts(parse(request(op=op, stream="cam", args=args)).args)


def test_labels_of_all_languages_and_joined_emoji_are_taken():
    for label in ("Tür 3", "门", "दरवाज़ा", "باب", "👩\u200d🔧", "a b"):
        check_prompts(parse(request(op="label_object", stream="cam", args={"object_id": 1, "label": label})).args)


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        ([], "BAD_REQUEST", "a message of 0 parts"),
        ([b"{}"], "BAD_REQUEST", "a message of 1 parts"),
        ([b"x", b"{}"], "BAD_REQUEST", "an empty one and the request"),
        ([b"", b"", b"{}"], "BAD_REQUEST", "a message of 3 parts"),
        ([b"", b""], "BAD_REQUEST", "the request is empty: expected a JSON object"),
        ([b"", b"\xff\xfe"], "BAD_REQUEST", "the request is not JSON ("),
        ([b"", b"[" * 100_000], "BAD_REQUEST", "the request is not JSON ("),
        ([b"", b'{"id":' + b'{"a":' * 100_000], "BAD_REQUEST", "the request is not JSON ("),
        ([b"", b'{"v":1}'], "BAD_REQUEST", "id is missing: expected text of 1 to 64 characters"),
        (request(op="list", v=2), "UNSUPPORTED_VERSION", "v is 2"),
        (request(op="list", v="1"), "BAD_REQUEST", 'v: "1" is invalid: expected a whole number'),
        ([b"", b'{"id":"x","op":"list"}'], "UNSUPPORTED_VERSION", "v is missing: this daemon supports version 1"),
        (request(op="list", id=""), "BAD_REQUEST", 'id: "" is invalid: expected text of 1 to 64 characters'),
        (request(op="list", id="x" * 65), "BAD_REQUEST", "is invalid: expected text of 1 to 64 characters"),
        (request(op="list", lable="x"), "BAD_REQUEST", "lable: there is no such field; the request takes v, id, op"),
        (request(op="lst"), "UNKNOWN_OP", "did you mean list?"),
        (request(op="frobnicate"), "UNKNOWN_OP", "use one of hello, list"),
        (request(op="reset"), "BAD_REQUEST", "reset needs a stream"),
        (request(op="hello", stream="cam"), "BAD_REQUEST", "leave the field stream out"),
        (request(op="list", args=None), "BAD_REQUEST", "list: args: null is invalid: expected a JSON object"),
        (request(op="list", args={"x": 1}), "BAD_REQUEST", "list: x: there is no such field; args takes no fields"),
        (
            wrong_prompt(points=[[1]]),
            "BAD_REQUEST",
            "points[0]: [1] is invalid: expected a list of 2 to 3 numbers",
        ),
        (
            wrong_prompt(points=[[0, 0]] * 65),
            "BAD_REQUEST",
            "points: a list of 65 is invalid: expected a list of 0 to 64 lists",
        ),
        (
            wrong_prompt(object_id=0),
            "BAD_REQUEST",
            "object_id: 0 is invalid: expected a whole",
        ),
        (
            wrong_prompt(object_id=2**31),
            "BAD_REQUEST",
            "object_id: 2147483648 is invalid: expected",
        ),
        (
            wrong_prompt(coords="px"),
            "BAD_REQUEST",
            'coords: "px" is invalid: expected normalized or pixels',
        ),
        (
            wrong_prompt(label="x" * 101),
            "BAD_REQUEST",
            "is invalid: expected text of at most 100 characters",
        ),
        (
            [b"", b'{"v":1,"id":"r","op":"add_prompt","stream":"c","args":{"points":[[1e999,1]]}}'],
            "BAD_REQUEST",
            "out of",
        ),
        (request(op="remove_object", stream="cam"), "BAD_REQUEST", "object_id is missing: expected a whole number"),
        *((wrong_prompt(**args), "BAD_REQUEST", words) for args, words in WRONG_FIELDS),
        ([b"", b'{"v":1,"id":"r","op":"list","args":{"x":NaN}}'], "BAD_REQUEST", "NaN and Infinity are not JSON"),
        (
            request(op="add_stream", stream="cam", args={"settings": []}),
            "BAD_REQUEST",
            "[] is invalid: expected a JSON object",
        ),
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


def test_equal_requests_have_equal_data_however_they_are_written():
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
def test_any_bytes_are_parsed_or_refused(parts):
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
