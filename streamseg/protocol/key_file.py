"""Files with CURVE keys, in the format of czmq and pyzmq, with our own fields in the section ``metadata``.

Ours because ``zmq.auth.load_certificate`` returns only keys, no metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MAX_KEY_FILE_BYTES: Final = 16 * 1024
KEY: Final = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
"""A CURVE key in Z85, as text."""

_FIELD: Final = re.compile(r"\s+([a-z][a-z0-9-]*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(.*?))\s*")


def read_fields(text: str) -> dict[str, str]:
    """Return all fields of a key file by name; of duplicates, the first.

    Args:
        text: Content of the file.
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if match := _FIELD.fullmatch(line):
            fields.setdefault(match[1], match[2] or match[3] or match[4] or "")
    return fields


def read_all_fields(data: bytes) -> dict[str, str]:
    """Return all fields of a key file by name, and refuse a file with anything else in it.

    Args:
        data: Content of the file.

    Raises:
        ValueError: it is too long or not text, a line is not a field, a comment or a section's name, or a field is
            given twice. The message has the line's number, not its text, which may be secret.
    """
    if len(data) > MAX_KEY_FILE_BYTES:
        raise ValueError(f"it is longer than {MAX_KEY_FILE_BYTES} bytes")
    fields: dict[str, str] = {}
    for number, line in enumerate(data.decode().splitlines(), 1):
        if line.strip() in ("", "metadata", "curve") or line.lstrip().startswith("#"):
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ValueError(f'line {number} is no field: write an indented name = "value"')
        if match[1] in fields:
            raise ValueError(f"line {number}: {match[1]} is given twice")
        fields[match[1]] = match[2] or match[3] or match[4] or ""
    return fields


def write_fields(comment: str, metadata: Mapping[str, str], curve: Mapping[str, str]) -> str:
    """Return the content of a key file; fields without a value are omitted.

    Args:
        comment: First line, a comment.
        metadata: Fields of the section ``metadata``.
        curve: Fields of the section ``curve``.

    Raises:
        ValueError: a value contains a quotation mark or a line break.
    """
    lines = [f"# {comment}"]
    for section, fields in (("metadata", metadata), ("curve", curve)):
        lines.append(section)
        for name, value in fields.items():
            if re.search(r'["\r\n]', value):
                raise ValueError(f"{name}: {value!r} contains a quotation mark or a line break")
            if value:
                lines.append(f'    {name} = "{value}"')
    return "\n".join(lines) + "\n"
