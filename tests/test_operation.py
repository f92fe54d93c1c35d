"""docs/operation.md against the code: every state, event and exit code is explained, and nothing else is."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from streamseg import errors
from streamseg.cli.app import INTERRUPTED
from streamseg.daemon.child import ChildState
from streamseg.protocol.published import EventKind, ObjectState, StreamState
from streamseg.service.unit import packaged_units

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/operation.md").read_text()


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def table(heading: str) -> dict[str, list[str]]:
    """The rows of a section's table by their first cell; every cell but the last has text."""
    rows = [re.split(r" *\| *", line.strip("| ")) for line in section(heading).splitlines() if line.startswith("| ")]
    names = [row[0].strip("`") for row in rows[1:]]
    assert len(names) == len(set(names))
    assert all(all(row[:3]) for row in rows)
    return dict(zip(names, rows[1:], strict=True))


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("States of a stream", set(get_args(StreamState))),
        # `waiting` is of lists only, where an object's prompt has not been applied yet.
        ("States of an object", {*get_args(ObjectState), "waiting"}),
        ("States of a process", set(get_args(ChildState))),
        ("Events", set(get_args(EventKind))),
    ],
)
def test_exactly_the_existing_names_are_explained(heading: str, known: set[str]) -> None:
    assert set(table(heading)) == known


def exit_codes() -> set[int]:
    """All exit codes of the program: those of errors, and those that commands give by themselves."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    found = {0, INTERRUPTED, *(kind.exit_code for kind in classes if issubclass(kind, errors.StreamsegError))}
    for path in (ROOT / "streamseg/cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "sys.exit"):
                found |= {value.value for value in node.args if isinstance(value, ast.Constant)}
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("exit_code", "SKIPPED"):
                found |= {node.value.value} if isinstance(node.value, ast.Constant) else set()
    return found


def test_every_exit_code_is_explained_with_what_the_service_does() -> None:
    rows = table("Exit codes")
    assert {int(code) for code in rows} == exit_codes()
    (prevented,) = re.findall(r"^RestartPreventExitStatus=(.*)$", packaged_units()["streamseg.service"], re.MULTILINE)
    down = {code for code, row in rows.items() if row[3:] and row[3] == "stays down"}
    assert down == {"0", *prevented.split()}


def test_settings_that_are_named_exist() -> None:
    settings = (ROOT / "docs/configuration.md").read_text()
    named = set(re.findall(r"`((?:state|http|publish|model|control|log)\.\w+)`", PAGE))
    assert named
    assert {name for name in named if f"`{name}`" not in settings} == set()
