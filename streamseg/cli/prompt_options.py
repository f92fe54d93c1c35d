"""``--point``, ``--box`` and ``--mask``: mark an object on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from streamseg.errors import ConfigError

CoordsOption = Annotated[
    str | None,
    typer.Option(
        "--coords",
        metavar="pixels|normalized",
        help="Unit of numbers without % in --point and --box: pixels (default), or 0..1 of the width and height.",
    ),
]


def prompt_of(
    points: Sequence[str], box: str | None, mask: Path | None, coords: str | None = None
) -> dict[str, Any] | None:
    """Return the marks as one prompt of a configuration, for object 1; None without marks.

    Args:
        points: ``X,Y`` or ``X,Y,0`` each, in the unit of ``coords`` or, with ``%``, in percent of the picture.
        box: ``X0,Y0,X1,Y1``, likewise.
        mask: An image of the object's mask.
        coords: ``pixels`` or ``normalized``; None: pixels.

    Raises:
        ConfigError: a mark cannot be parsed, or units are mixed.
    """
    if coords not in (None, "pixels", "normalized"):
        raise ConfigError(f"--coords {coords!r} is unknown: write pixels or normalized")
    if not points and box is None and mask is None:
        return None
    prompt: dict[str, Any] = {"object": 1}
    units: set[str] = set()
    if points:
        prompt["points"] = [_read_point(text, units) for text in points]
    if box is not None:
        corners = [_read_coordinate(part, units, "--box", box) for part in box.split(",")]
        if len(corners) != 4:
            raise ConfigError(f"--box {box!r}: write X0,Y0,X1,Y1, for example --box 100,80,420,400")
        prompt["box"] = corners
    if mask is not None:
        prompt["mask"] = str(mask)
    if len(units) > 1:
        raise ConfigError("--point and --box mix pixels and percent (%): use one of them")
    if "%" in units and coords is not None:
        raise ConfigError("--coords and percent (%) exclude each other: leave out one of them")
    if "%" in units:
        prompt["coords"] = "normalized"
    elif coords is not None:
        prompt["coords"] = coords
    return prompt


def check_marks(prompt: dict[str, Any]) -> None:
    """Check marks by the rules that need no picture, as a daemon does.

    Raises:
        ConfigError: they contradict each other, or their unit is ambiguous.
    """
    from streamseg.cli.option_words import option_words
    from streamseg.protocol.prompt_rules import request_problems

    points, box, coords = prompt.get("points", ()), prompt.get("box"), prompt.get("coords", "pixels")
    for problem in request_problems(points, box, has_mask="mask" in prompt, coords=coords):
        option = {"points": "--point: ", "box": "--box: "}.get(str(problem.field[0]) if problem.field else "", "")
        raise ConfigError(option + option_words(problem.message))


def _read_point(text: str, units: set[str]) -> list[float]:
    parts = text.split(",")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2].strip() not in ("0", "1")):
        raise ConfigError(
            f"--point {text!r}: write X,Y for a point on the object, X,Y,0 for one not on it, for example "
            "--point 320,240"
        )
    point = [_read_coordinate(part, units, "--point", text) for part in parts[:2]]
    return [*point, float(parts[2])] if len(parts) == 3 else point


def _read_coordinate(part: str, units: set[str], option: str, text: str) -> float:
    number = part.strip()
    units.add("%" if number.endswith("%") else "px")
    try:
        return float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        raise ConfigError(
            f"{option} {text!r}: {part!r} is not a number: write pixels (320) or percent of the picture (50%)"
        ) from None
