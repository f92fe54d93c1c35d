"""Settings of the types of prompters that come with streamseg: the content of ``settings``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from streamseg.config.problems import Path, Problems

Share = Annotated[float, Meta(ge=0, le=1)]


class OnnxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A detector of the YOLO family, exported to ONNX.

    Attributes:
        model: The file.
        classes: The names of the model's classes, in their order; empty: those that the file holds.
        only: Names of the classes to propose; empty: all.
        score: Lowest score of a detection.
        overlap: Of two boxes of a class with a higher IoU, the one with the lower score is dropped.
        image_size: Side of the model's square input; None: as the file says, or 640.
    """

    model: str
    classes: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    score: Share = 0.25
    overlap: Share = 0.45
    image_size: Annotated[int, Meta(ge=32, le=4096)] | None = None


def _check_onnx(settings: OnnxSettings, path: Path, problems: Problems) -> None:
    _check_file(settings.model, (*path, "model"), problems)
    if settings.classes and (unknown := [name for name in settings.only if name not in settings.classes]):
        problems.add(
            (*path, "only"), f"{unknown[0]!r} is not in classes: write one of {', '.join(settings.classes[:20])}"
        )


def _check_file(name: str, path: Path, problems: Problems) -> None:
    if not os.path.isfile(name):  # noqa: PTH113 - never raises
        problems.add(path, f"there is no file {name[:200]!r}: check the path")


SETTINGS: Final[dict[str, tuple[type[msgspec.Struct], Callable[[Any, Path, Problems], None]]]] = {
    "onnx": (OnnxSettings, _check_onnx),
}
"""Type -> what its settings are, and what else must hold."""
