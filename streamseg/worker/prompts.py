"""Converts a prompt to the tracker's form, in pixels of a frame of known size."""

from __future__ import annotations

from streamseg.common.mask_file import read_mask
from streamseg.errors import PromptError, ProtocolError
from streamseg.ipc.saved_prompts import SavedPrompt
from streamseg.protocol.arguments import Rle
from streamseg.protocol.mask_codec import decode_mask, encode_rle
from streamseg.protocol.results import PixelBox, PixelPoint
from streamseg.tracker.types import BoolMask, ObjectResult, Point, Prompt


def build_prompt(obj_id: int, given: SavedPrompt, size: tuple[int, int]) -> Prompt:
    """Convert a prompt to pixels of a frame.

    Args:
        obj_id: The object's id.
        given: The prompt; its points and box are in pixels or normalized, its mask is a file or RLE.
        size: (width, height) of the frame in pixels.

    Raises:
        PromptError: the parts of the prompt contradict each other, or the mask cannot be read or has another size.
            The tracker checks whether the marks lie inside the frame.
    """
    points, box = pixel_marks(given, size)
    mask = None
    if isinstance(given.mask, Rle):
        mask = _decode_rle(obj_id, given.mask, size)
    elif given.mask is not None:
        mask = read_mask(given.mask)
        _check_size(obj_id, (mask.shape[1], mask.shape[0]), size)
    marks = tuple(Point(x, y, int(label)) for x, y, label in points)
    return Prompt(obj_id, points=marks, box=box, mask=mask, candidate=given.candidate)


def pixel_marks(given: SavedPrompt, size: tuple[int, int]) -> tuple[tuple[PixelPoint, ...], PixelBox | None]:
    """Return the points and the box of a prompt in pixels of a frame of this (width, height)."""
    scale_x, scale_y = size if given.coords == "normalized" else (1, 1)
    points = tuple((x * scale_x, y * scale_y, label) for x, y, label in given.points)
    if given.box is None:
        return points, None
    x0, y0, x1, y1 = given.box
    return points, (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y)


def full_rle(result: ObjectResult) -> Rle:
    """Return an object's full-frame mask as run lengths."""
    width, height = result.size
    return Rle((height, width), encode_rle(result.full_mask).decode())


def _decode_rle(obj_id: int, rle: Rle, size: tuple[int, int]) -> BoolMask:
    height, width = rle.size
    _check_size(obj_id, (width, height), size)  # before memory is allocated for it
    try:
        return decode_mask(rle.counts.encode(), size, "coco_rle")
    except ProtocolError as error:
        raise PromptError(f"object {obj_id}: the mask cannot be read: {error}") from None


def _check_size(obj_id: int, size: tuple[int, int], video: tuple[int, int]) -> None:
    if size != video:
        raise PromptError(
            f"object {obj_id}: the mask is {size[0]}x{size[1]}, the video {video[0]}x{video[1]}: resize the mask"
        )
