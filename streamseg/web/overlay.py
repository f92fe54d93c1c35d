"""A picture with its masks drawn over it, for programs that cannot draw masks themselves."""

from __future__ import annotations

from typing import Final

import cv2

from streamseg.client import FramePair
from streamseg.common.draw import draw_masks
from streamseg.errors import ProtocolError

_JPEG_QUALITY: Final = 85


def overlay_jpeg(pair: FramePair) -> bytes:
    """Return the picture as JPEG, with masks, outlines and labels drawn over it.

    Raises:
        ProtocolError: The picture or a mask cannot be decoded.
    """
    drawn = draw_masks(pair.image.rgb, pair.masks.objects)
    ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise ProtocolError("the picture could not be encoded as JPEG")
    return jpeg.tobytes()
