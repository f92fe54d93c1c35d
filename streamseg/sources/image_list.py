"""The image files of a folder, or of a pattern of file names, in natural order."""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path
from typing import Final

from streamseg.errors import SourceOpenError

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
"""Files with these suffixes are read as images; FFmpeg reads all others, including animated GIFs."""

_NUMBER: Final = re.compile(r"%0?(\d?)d")


def list_images(path: Path) -> list[Path]:
    """Return the image files of a folder or pattern, or the file itself, in natural order.

    Raises:
        SourceOpenError: There are none.
    """
    try:
        if path.is_file():
            found = [path]
        elif path.is_dir():
            found = [entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES]
        elif numbered := _NUMBER.search(path.name):
            before, after = path.name[: numbered.start()], path.name[numbered.end() :]
            digits = rf"\d{{{int(numbered[1] or 1)},}}"
            wanted = re.compile(f"{re.escape(before)}{digits}{re.escape(after)}")
            found = [entry for entry in path.parent.iterdir() if wanted.fullmatch(entry.name)]
        elif any(character in str(path) for character in "*?["):
            found = [Path(name) for name in glob(str(path))]  # noqa: PTH207 - any part may hold a wildcard
        else:
            found = list(path.iterdir())  # raises the error that tells why
        pictures = sorted((entry for entry in found if entry.is_file()), key=_natural_order)
    except OSError as error:
        raise SourceOpenError(f"{str(path)!r} cannot be listed: {error.strerror}") from None
    if not pictures:
        what = f"contains no images ({', '.join(IMAGE_SUFFIXES)})" if path.is_dir() else "matches no files"
        raise SourceOpenError(f"{str(path)!r} {what}: check the path")
    return pictures


def _natural_order(path: Path) -> tuple[list[list[tuple[bool, int, str]]], str]:
    """Sort key: folder by folder, digits as numbers; the path decides between ``1.jpg`` and ``01.jpg``."""
    names = [[part for part in re.split(r"(\d+)", name.lower()) if part] for name in path.parts]
    # isdecimal, like \d: isdigit is also true for characters that int() refuses, such as a circled 1.
    return [
        [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in name] for name in names
    ], str(path)
