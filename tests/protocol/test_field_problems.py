"""Error messages about a request do not repeat the passwords in it."""

from __future__ import annotations

import msgspec
import pytest

from streamseg.protocol.field_problems import json_problem
from streamseg.web.stream_api import NewStream

_ADDRESS = "rtsp://admin:hunter2secret@10.0.0.1/x"


@pytest.mark.parametrize(
    "body",
    [
        {"source": _ADDRESS + "a" * 2000},
        {"source": f"rtsp://admin:{'hunter2secret' * 200}@10.0.0.1/x"},
        {"source": [_ADDRESS]},
        {"source": ["admin:hunter2secret@10.0.0.1"]},
        {"source": "x", "transport": _ADDRESS},
        {_ADDRESS: 1},
    ],
)
def test_passwords_are_not_quoted(body):
    problem = json_problem(msgspec.json.encode(body), NewStream, "the body")
    assert "hunter2" not in problem
    assert "expected" in problem or "no such field" in problem
