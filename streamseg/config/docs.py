"""The table of all settings in ``docs/configuration.md``; ``python -m streamseg.config.docs`` prints it."""

from __future__ import annotations

import msgspec

from streamseg.config.problems import path_name
from streamseg.config.schema import Config
from streamseg.config.validate import expected, settings


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
    words = expected(hint)
    return words if len(words) <= 80 else f"{words.partition(' (')[0]}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is None or field.default in ("", ()):
        return ""
    return f"`{field.default if isinstance(field.default, str) else msgspec.json.encode(field.default).decode()}`"


if __name__ == "__main__":
    print(settings_table(), end="")
