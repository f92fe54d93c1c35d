"""The table of settings in ``docs/configuration.md``; ``python -m streamseg.config.docs FILE`` rewrites it there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec

from streamseg.config.problems import path_name
from streamseg.config.schema import Config
from streamseg.config.validate import settings
from streamseg.protocol.type_words import brief, expected

_BEGIN: Final = "<!-- settings -->\n"
_END: Final = "<!-- end of settings -->"


def settings_table() -> str:
    """Return a Markdown table of every setting: path, values, default, description."""
    rows = ["| setting | values | default | what it does |", "|---|---|---|---|"]
    for path, field in settings(Config):
        if _is_group(field):
            continue
        cells = (f"`{path_name(path)}`", _values(field.type), _default(field), describe_setting(field))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def describe_setting(field: msgspec.structs.FieldInfo) -> str:
    """Return the description of a setting; empty if the schema has none."""
    info = msgspec.inspect.type_info(field.type)
    if isinstance(info, msgspec.inspect.Metadata) and info.extra_json_schema is not None:
        return str(info.extra_json_schema.get("description", ""))
    return ""


def _is_group(field: msgspec.structs.FieldInfo) -> bool:
    return isinstance(field.default, msgspec.Struct)


def _values(hint: object) -> str:
    return brief(expected(hint))


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default in (None, "", (), msgspec.NODEFAULT):  # no default, but a factory: an empty group
        return ""
    return f"`{field.default if isinstance(field.default, str) else msgspec.json.encode(field.default).decode()}`"


def with_settings_table(text: str) -> str:
    """Return a document with the table between its two markers updated."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return before + begin + settings_table() + end + after


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(with_settings_table(document.read_text()))
