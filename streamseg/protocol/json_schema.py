"""The protocol as JSON Schema, generated from its types: ``python -m streamseg.protocol.json_schema FILE`` writes it.

Readers of messages and replies must accept unknown fields, so those schemas do, too; requests refuse them.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from streamseg.protocol.control import CONTROL_VERSION, OPERATIONS, ErrorBody
from streamseg.protocol.published import DaemonStatus, Event, Image, Masks, Objects, Status

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MESSAGES: Final[tuple[type[msgspec.Struct], ...]] = (Masks, Objects, Image, Event, Status, DaemonStatus)

_ATTRIBUTE = re.compile(r"^(\w+): (.*)$")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of every message, request and reply.

    ``$defs`` has a message by the name of its type (``Masks``), a request as ``request.OP`` and its reply as
    ``reply.OP``. The schema as a whole accepts any of them.
    """
    types: set[type[msgspec.Struct]] = {*MESSAGES, ErrorBody}
    types.update(side for op in OPERATIONS.values() for side in (op.args, op.result))
    ordered = sorted(types, key=lambda type_: type_.__name__)
    _, definitions = msgspec.json.schema_components(ordered, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        _move_attributes(definition)
    for type_ in types:
        _describe(definitions[type_.__name__], type_)
    requests = {f"request.{name}": _request(name) for name in OPERATIONS}
    replies = {f"reply.{name}": _reply(name) for name in OPERATIONS}
    accepted = [*(type_.__name__ for type_ in MESSAGES), *requests, *replies]
    return {
        "$schema": DIALECT,
        "title": "streamseg protocol v1: part 1 of published messages, requests and replies",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in accepted],
        "$defs": {**dict(sorted(definitions.items())), **requests, **replies},
    }


def _move_attributes(definition: dict[str, Any]) -> None:
    """Move the descriptions of fields from the docstring to the fields."""
    text, _, attributes = inspect.cleandoc(definition.get("description", "")).partition("Attributes:")
    definition["description"] = text.strip()
    name = ""
    for line in inspect.cleandoc(attributes).splitlines():
        found = _ATTRIBUTE.match(line)
        if found:
            name = found[1]
        field = definition.get("properties", {}).get(name)
        if field is not None:
            words = found[2] if found else line.strip()
            field["description"] = f"{field.get('description', '')} {words}".strip()


def _describe(definition: dict[str, Any], type_: type[msgspec.Struct]) -> None:
    """Describe inherited fields by the docstrings of the bases."""
    for base in type_.__mro__[1:]:
        if not (issubclass(base, msgspec.Struct) and base.__doc__):
            continue
        inherited: dict[str, Any] = {
            "description": base.__doc__,
            "properties": {name: {} for name in definition.get("properties", {})},
        }
        _move_attributes(inherited)
        for name, said in inherited["properties"].items():
            if said and "description" not in definition["properties"][name]:
                definition["properties"][name].update(said)


def _request(name: str) -> dict[str, Any]:
    operation = OPERATIONS[name]
    args = {"$ref": f"#/$defs/{operation.args.__name__}"}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "v": {"const": CONTROL_VERSION},
            "id": {"type": "string", "minLength": 1, "maxLength": 64},
            "op": {"const": name},
            "client": {"type": "string", "maxLength": 64},
            "stream": {"type": ["string", "null"], "maxLength": 64},
            "args": args,
        },
        "required": ["v", "id", "op"],
        "additionalProperties": False,
    }
    if operation.stream == "required":
        schema["required"].append("stream")
    if any(field.required for field in msgspec.structs.fields(operation.args)):
        schema["required"].append("args")
    return schema


def _reply(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "v": {"const": CONTROL_VERSION},
            "id": {"type": "string"},
            "ok": {"type": "boolean"},
            "result": {"$ref": f"#/$defs/{OPERATIONS[name].result.__name__}"},
            "error": {"$ref": "#/$defs/ErrorBody"},
        },
        "required": ["v", "id", "ok"],
        "oneOf": [
            {"properties": {"ok": {"const": True}}, "required": ["result"]},
            {"properties": {"ok": {"const": False}}, "required": ["error"]},
        ],
    }


def text() -> str:
    """Return the schema as the file's text."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=1).decode() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
