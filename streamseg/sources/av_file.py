"""Checks a local file before FFmpeg opens it: FFmpeg waits, and decodes images, without a bound."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamseg.common.image_file import ImageError, header_size, is_image
from streamseg.errors import SourceOpenError

_HEADER_BYTES = 1 << 20
_MAX_HEADER_BYTES = 32 << 20
"""Read this much to find an image's size: JPEG may have megabytes of metadata before it, TIFF has it at the end."""


@contextmanager
def checked_file(path: str, shown: str, timeout_s: float) -> Iterator[str]:
    """Wait for the writer of a FIFO, and refuse an image that is too large.

    Args:
        path: Path of the file.
        shown: The path for messages.
        timeout_s: Longest wait.

    Yields:
        The path that FFmpeg can open within the context: the given path, or the descriptor of an open FIFO. If FFmpeg
        opened the FIFO by its path after the first writer has finished, it would wait for another one.

    Blocks: up to ``timeout_s``, for a FIFO without a writer. FFmpeg would wait forever.

    Raises:
        SourceOpenError: nothing was written to the FIFO in time, or the image is too large.
    """
    descriptor = None
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISFIFO(mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        elif stat.S_ISREG(mode):
            _check_size(Path(path))
    except ImageError as error:
        raise SourceOpenError(f"{shown}: {error}") from None
    except (OSError, ValueError):
        pass  # FFmpeg's error says what is wrong
    try:
        if descriptor is not None:
            _wait_for_writer(descriptor, shown, timeout_s)
            os.set_blocking(descriptor, True)
            yield f"pipe:{descriptor}"
        else:
            yield path
    finally:
        if descriptor is not None:  # FFmpeg has a copy of it
            os.close(descriptor)


def _wait_for_writer(descriptor: int, shown: str, timeout_s: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(timeout_s * 1000):
        raise SourceOpenError(
            f"{shown}: nothing was written to this FIFO within {timeout_s:.3g} s: start its writer, or raise "
            "open_timeout_s"
        )


def _check_size(path: Path) -> None:
    """Refuse an image that is too large, before FFmpeg decodes it to detect its type."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
        if header_size(head) is None and is_image(head):
            header_size(head + file.read(_MAX_HEADER_BYTES - len(head)))
