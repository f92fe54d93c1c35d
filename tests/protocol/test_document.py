"""docs/protocol.md names every feature, operation, error code and event, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from streamseg.protocol.control import FEATURES, OPERATIONS, ErrorCode
from streamseg.protocol.published import EventKind

PAGE = (Path(__file__).parents[2] / "docs/protocol.md").read_text()


def names_in_table(header: str) -> set[str]:
    """The names in the first column of the table that begins with this header."""
    _, _, rest = PAGE.partition(f"\n{header}\n")
    rows = rest.split("\n\n")[0].splitlines()[1:]
    assert rows, header
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("| feature | meaning |", set(FEATURES)),
        ("| op | stream | args | result |", set(OPERATIONS)),
        ("| code | retryable | when |", set(get_args(ErrorCode))),
        ("| kind | meaning |", set(get_args(EventKind))),
    ],
)
def test_every_name_is_in_its_table(header: str, known: set[str]) -> None:
    assert names_in_table(header) == known
