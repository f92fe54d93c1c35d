"""Exports a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from streamseg.errors import ConfigError, RecordError
from streamseg.record.export.coco import CocoExport
from streamseg.record.export.davis import DavisExport
from streamseg.record.export.frames import ExportedFrame, exported_frames
from streamseg.record.export.labelme import LabelMeExport
from streamseg.record.export.yolo import YoloExport


class Export(Protocol):
    """Writes frames in one format."""

    def add(self, frame: ExportedFrame) -> None:
        """Add a frame."""
        ...

    def close(self) -> None:
        """Write the remaining files."""
        ...


FORMS: Final[Mapping[str, Callable[[Path], Export]]] = {
    "coco": CocoExport,
    "yolo": YoloExport,
    "davis": DavisExport,
    "labelme": LabelMeExport,
}


def export_recording(recording: Path, out: Path, form: str, *, stream: str | None = None, every: int = 1) -> int:
    """Export a recording and return the number of frames.

    Args:
        recording: The recording.
        out: A folder that does not exist or is empty.
        form: A name of :data:`FORMS`.
        stream: Only this stream; None: all.
        every: Only every Nth frame.

    Raises:
        ConfigError: the form is unknown, or ``out`` is not empty.
        RecordError: there is nothing to export, or ``out`` cannot be written.
    """
    if form not in FORMS:
        raise ConfigError(f"--format: {form!r} is unknown: choose from {', '.join(FORMS)}")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out} is not empty: give a folder that does not exist")
        return _write(exported_frames(recording, stream), out, FORMS[form], every)
    except OSError as error:
        raise RecordError(f"{error.filename or out}: {error.strerror}; give a folder with enough space") from None


def _write(frames: Iterable[ExportedFrame], out: Path, form: Callable[[Path], Export], every: int) -> int:
    count, export = 0, None
    for number, frame in enumerate(frames):
        if number % every:
            continue
        if export is None:
            out.mkdir(parents=True, exist_ok=True)
            export = form(out)
        export.add(frame)
        count += 1
    if export is not None:
        export.close()
    return count
