"""Finds the settings that would change if their file moved to another folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from streamseg.config import problems
from streamseg.config.load import filled_settings
from streamseg.config.problems import Problems, path_name
from streamseg.config.relative import config_at
from streamseg.config.schema import Config
from streamseg.config.validate import read_value
from streamseg.config.yaml import read_document


def settings_that_move(file: Path, folder: Path) -> list[str]:
    """Return a line for each relative path in a valid configuration file: where it is, its value and the fix.

    Args:
        file: The file.
        folder: The folder that it would move to.

    Raises:
        ConfigError: the file cannot be read.
    """
    document = read_document(file)
    found = Problems()
    config: Config = read_value(filled_settings(document.tree, found), Config, (), found)
    here, there = (msgspec.to_builtins(config_at(base, config)) for base in (file.absolute().parent, folder))
    for path, written, absolute in _differences(msgspec.to_builtins(config), here, there, ()):
        # show() hides values of settings named like secrets; security.keys is a path.
        shown = found.show(path, written) if path in found.templates else repr(written)
        found.add(path, f"{shown} is relative: write {absolute!r}")
    return [f"line {document.line(one.path)}: {path_name(one.path)}: {one.text}" for one in found.found]


def _differences(written: Any, here: Any, there: Any, path: problems.Path) -> Iterator[tuple[problems.Path, Any, Any]]:
    """Yield path, value as written and value at the present folder of each plain value that the folder changes."""
    if here == there:
        return
    if isinstance(here, dict):
        for name, value in here.items():
            yield from _differences(written[name], value, there[name], (*path, name))
    elif isinstance(here, (list, tuple)):
        for index, value in enumerate(here):
            yield from _differences(written[index], value, there[index], (*path, index))
    else:
        yield path, written, here
