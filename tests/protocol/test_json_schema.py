"""The committed JSON Schema is that of the types, and accepts what crosses the wire."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest

from streamseg.protocol import json_schema
from streamseg.protocol.control import OPERATIONS
from tests.protocol import golden_messages

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "protocol.schema.json").read_text())
TYPES = {"masks": "Masks", "objects": "Objects", "image": "Image", "event": "Event", "status": "Status"}
GOLDEN = sorted(path.stem for path in golden_messages.FOLDER.glob("*.bin"))


def validator(name: str | None = None) -> jsonschema.Draft202012Validator:
    root = SCHEMA if name is None else {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    return jsonschema.Draft202012Validator(root)


def test_the_committed_schema_is_current() -> None:
    assert (DOCS / "protocol.schema.json").read_text() == json_schema.text(), "run `make docs`"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_messages_fit(name: str) -> None:
    header = json.loads(golden_messages.read(name)[1])
    schema = validator("DaemonStatus" if header["type"] == "daemon" else TYPES[header["type"]])
    schema.validate(header)
    schema.validate(header | {"a_field_of_a_newer_daemon": 1})
    validator().validate(header)
    broken = copy.deepcopy(header)
    del broken["seq"]
    assert not schema.is_valid(broken)
    assert not schema.is_valid(header | {"session": 5})


def test_the_requests_and_replies_of_the_document_fit() -> None:
    text = (DOCS / "protocol.md").read_text()
    blocks = [block for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if '"id"' in block]
    decoder, found = json.JSONDecoder(), []
    for block in blocks:
        rest = block.strip()
        while rest:
            item, end = decoder.raw_decode(rest)
            found.append(item)
            rest = rest[end:].lstrip()
    assert len(found) == 3
    for item in found:
        validator("request.add_prompt" if "op" in item else "reply.add_prompt").validate(item)


def test_every_operation_has_its_schema_and_refuses_typos() -> None:
    for name, operation in OPERATIONS.items():
        assert {f"request.{name}", f"reply.{name}"} <= set(SCHEMA["$defs"])
        request = {"v": 1, "id": "r1", "op": name, "stream": "cam"}
        schema = validator(f"request.{name}")
        if operation.args.__name__ == "NoArgs":
            schema.validate(request)
        assert not schema.is_valid(request | {"argz": {}})
        assert not schema.is_valid(request | {"args": {"no_such_argument": 1}})
