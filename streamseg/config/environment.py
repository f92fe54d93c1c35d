"""Replaces ``${NAME}`` in a configuration with environment variables.

This happens after parsing, so that a password can contain any character without changing the meaning of the file. Ours
because ``string.Template`` and ``os.path.expandvars`` have no defaults, do not percent-encode inside addresses, and do
not report which setting used which variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from streamseg.config.problems import Path, Problems, Template

_VARIABLE: Final = re.compile(
    r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{[^}]*\}?)"
)
# The user info of an address, up to a variable in it.
_IN_USERINFO: Final = re.compile(r"://[^/?#@\s]*$")


def substitute(tree: Any, environment: Mapping[str, str], problems: Problems) -> tuple[Any, dict[Path, Template]]:
    """Return ``tree`` with every variable replaced by its value.

    ``${NAME}`` must be set; ``${NAME:-default}`` uses the default if it is unset or empty; ``$$`` is a dollar sign.
    Keys are not changed. Values in the user info of an address are percent-encoded, so that the variable holds the
    plain password.

    Args:
        tree: Plain values, as from YAML.
        environment: Name -> value.
        problems: Receives variables that are not set.

    Returns:
        The new tree, and the original text of every setting that uses a variable.
    """
    templates: dict[Path, Template] = {}

    def walk(value: Any, path: Path) -> Any:
        match value:
            case dict():
                return {key: walk(item, (*path, str(key))) for key, item in value.items()}
            case list():
                return [walk(item, (*path, index)) for index, item in enumerate(value)]
            case str() if "$" in value:
                filled, values = _fill(value, environment, path, problems)
                if values:
                    templates[path] = Template(value, values)
                return filled
            case _:
                return value

    return walk(tree, ()), templates


def _fill(template: str, environment: Mapping[str, str], path: Path, problems: Problems) -> tuple[str, dict[str, str]]:
    values: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        values[match[0]] = ""
        name, default = match["name"], match["default"]
        if match["broken"]:
            problems.add(
                path,
                f"{match[0]!r} is not a variable: write ${{NAME}} or ${{NAME:-default}}, or $${{ for a literal ${{",
            )
            return ""
        value = environment.get(name)
        if default is not None and not value:
            value = default
        if value is None:
            problems.add(
                path,
                f"the environment variable {name} is not set: export {name} first, or write ${{{name}:-default}}",
            )
            return ""
        in_userinfo = _IN_USERINFO.search(template, 0, match.start()) and "@" in template[match.end() :]
        values[match[0]] = quote(os.fsencode(value), safe="") if in_userinfo else value
        return values[match[0]]

    return _VARIABLE.sub(replace, template), values
