"""Draws masks over a picture: stable colors, outlines, and a label for each object.

Ours because drawing libraries (``supervision``, ``torchvision.utils``) copy and blend the whole picture per object;
this touches only the pixels within the objects' boxes, at the frame rate of a video.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.errors import ProtocolError
from streamseg.protocol.palette import color_of

Picture = NDArray[np.uint8]
Rect = tuple[int, int, int, int]

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_AMBER: Final = (240, 180, 41)
_JPEG_QUALITY: Final = 85


def draw_masks(
    image_rgb: Picture,
    objects: Iterable[Any],
    *,
    opacity: float = 0.4,
    labels: bool = True,
    out: Picture | None = None,
) -> Picture:
    """Return the picture with objects drawn over it.

    A visible object gets a tint, an outline and a label at its box; the others are listed with their state in the lower
    left corner. Apart from labels, only pixels within the objects' boxes are touched.

    Args:
        image_rgb: ``uint8 [H, W, 3]``.
        objects: Objects received by the client or returned by the tracker; later ones are on top. Each has ``id`` or
            ``obj_id``; ``roi`` (x, y, w, h); ``crop`` or ``mask``, boolean, of the size of ``roi`` or of the
            picture; and optionally ``label``, ``state`` and ``score`` or ``iou_prediction``.
        opacity: Opacity of the tint, 0 to 1.
        labels: Write labels.
        out: Array to draw into, may be ``image_rgb`` itself; a new one if None.
    """
    if out is None:
        out = image_rgb.copy()
    elif out is not image_rgb:
        np.copyto(out, image_rgb)
    drawn = [_Drawn.of(item, labels) for item in objects]
    for item in drawn:
        if item.crop is not None:
            _tint(out, item, opacity)
    if labels:
        _write_labels(out, drawn)
    return out


def draw_jpeg(image_rgb: Picture, objects: Iterable[Any]) -> bytes:
    """Return the picture as JPEG, with objects drawn over it as by :func:`draw_masks`.

    Raises:
        ProtocolError: A mask cannot be decoded, or the picture cannot be encoded.
    """
    drawn = draw_masks(image_rgb, objects)
    ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise ProtocolError("the picture could not be encoded as JPEG")
    return jpeg.tobytes()


def resized(image: Picture, size: tuple[int, int]) -> Picture:
    """Return a picture at another (width, height); the picture itself if it has that size."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An object to draw, independent of its class.

    Attributes:
        crop: ``uint8 [h, w]`` of ``roi``, 0 or 1; None if the object is not visible.
        accent: Color of outline and label: amber if the mask is probably wrong.
    """

    color: tuple[int, int, int]
    text: str
    roi: Rect
    crop: Picture | None
    accent: tuple[int, int, int]

    @classmethod
    def of(cls, item: Any, labeled: bool) -> _Drawn:
        obj_id = int(item.obj_id if hasattr(item, "obj_id") else item.id)
        roi: Rect = tuple(int(value) for value in item.roi)  # type: ignore[assignment]
        x, y, w, h = roi
        crop = None
        if w > 0 and h > 0:
            mask = np.asarray(item.crop if hasattr(item, "crop") else item.mask)
            if mask.shape != (h, w):
                mask = mask[y : y + h, x : x + w]
            crop = np.ascontiguousarray(mask, dtype=np.uint8)
        text = f"{obj_id} {getattr(item, 'label', '')}".strip()
        state = str(getattr(item, "state", ""))
        if crop is None or state in ("occluded", "lost"):
            text = f"{text}: {state or 'not visible'}"
        else:
            score = getattr(item, "confidence", None)
            if score is None:
                score = getattr(item, "score", getattr(item, "iou_prediction", None))
            text = text if score is None else f"{text} {float(score):.2f}"
            text = f"{text} {state}" if state == "uncertain" else text
        color = color_of(obj_id)
        return cls(color, text if labeled else "", roi, crop, _AMBER if state == "uncertain" else color)


def _tint(image: Picture, item: _Drawn, opacity: float) -> None:
    """Tint an object's pixels and draw its outline, in place."""
    x, y, w, h = item.roi
    assert item.crop is not None
    area = image[y : y + h, x : x + w]
    # A lookup table per channel is cheaper than arithmetic on the pixels.
    levels = np.arange(256)[:, None] * (1.0 - opacity) + np.array(item.color) * opacity
    tinted = cv2.LUT(np.ascontiguousarray(area), (levels + 0.5).astype(np.uint8)[None])
    cv2.copyTo(tinted, item.crop, area)
    width = max(1, round(min(image.shape[:2]) / 360))
    kernel = np.ones((3, 3), dtype=np.uint8)
    core = cv2.erode(item.crop, kernel, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    area[(item.crop != 0) & (core == 0)] = item.accent


def _write_labels(image: Picture, drawn: list[_Drawn]) -> None:
    """Write each label above its object, or inside it if there is no room; never over another label."""
    height, width = image.shape[:2]
    scale = max(0.36, min(height, width) / 900)
    stroke = 1 if scale < 0.7 else 2
    pad = max(2, round(6 * scale))
    placed: list[Rect] = []
    unseen_bottom = height - pad
    for item in drawn:
        (text_w, text_h), base = cv2.getTextSize(item.text, _FONT, scale, stroke)
        w, h = text_w + 2 * pad, text_h + base + pad
        if item.crop is None:
            x, y = pad, unseen_bottom - h
            unseen_bottom = y - pad
        else:
            x, y = item.roi[0], item.roi[1] - h
            if y < 0:
                y = item.roi[1]
        x, y = max(0, min(x, width - w)), max(0, min(y, height - h))
        for other in placed:
            if x < other[0] + other[2] and other[0] < x + w and y < other[1] + other[3] and other[1] < y + h:
                y = min(other[1] + other[3] + 1, max(0, height - h))
        placed.append((x, y, w, h))
        cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), item.accent, cv2.FILLED)
        bright = 0.30 * item.accent[0] + 0.59 * item.accent[1] + 0.11 * item.accent[2] > 110
        ink = (10, 10, 10) if bright else (255, 255, 255)
        at = (x + pad, y + text_h + pad // 2)
        cv2.putText(image, item.text, at, _FONT, scale, ink, stroke, cv2.LINE_AA)
