"""Decoding on an NVIDIA GPU (NVDEC), through FFmpeg.

Pictures are copied to the host as NV12, or P010 if the video has more than 8 bits, because the ring carries the frames
of all sources in host memory.
"""

from __future__ import annotations

import functools
from typing import Final

import av
import av.error
from av import VideoFrame
from av.codec.hwaccel import HWAccel, hwdevices_available

from streamseg.errors import SourceOpenError
from streamseg.sources.av_errors import reason
from streamseg.sources.av_options import Decoder

_OF_THE_GPU: Final = frozenset({"nv12", "p010le", "p012le", "p016le"})
# One context per process, not one per video stream and connection.
_SHARED_CONTEXT: Final[dict[str, object]] = {"primary_ctx": "1"}


def hardware_of(decoder: Decoder) -> HWAccel | None:
    """Return the argument ``hwaccel`` of ``av.open``; None to decode on the CPU.

    Video that the GPU cannot decode falls back to the CPU; :func:`decoded_by_gpu` tells from its pictures.

    Raises:
        SourceOpenError: there is no such device. ``av.open`` would fail too, with a generic message.
    """
    if decoder == "software":
        return None
    try:
        _try_device(decoder)
    except (av.error.FFmpegError, OSError, NotImplementedError) as error:
        raise SourceOpenError(
            f"decoder {decoder}: no NVIDIA GPU can be opened for decoding ({reason(error)}): install the driver, or "
            "set decoder to software"
        ) from None
    return HWAccel(decoder, allow_software_fallback=True, options=_SHARED_CONTEXT)


def decoded_by_gpu(picture: VideoFrame) -> bool:
    """Whether a picture came from the GPU. FFmpeg falls back to the CPU silently, at the first picture."""
    return picture.format.name in _OF_THE_GPU


@functools.cache  # does not cache errors
def _try_device(decoder: Decoder) -> None:
    if decoder not in hwdevices_available():
        raise NotImplementedError("FFmpeg was built without it")
    HWAccel(decoder, options=_SHARED_CONTEXT).create(av.Codec("h264", "r"))
