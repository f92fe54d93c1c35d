"""Decoding on an NVIDIA GPU (NVDEC), through FFmpeg.

Pictures come back to the host as NV12, or P010 where the video has more than 8 bits: the capture process is not the
one that owns the GPU's tensors, and the ring carries frames of all kinds of sources alike.
"""

from __future__ import annotations

import av
import av.error
from av.codec.hwaccel import HWAccel

from streamseg.errors import SourceOpenError
from streamseg.sources.av_errors import reason
from streamseg.sources.av_options import Decoder


def hardware_of(decoder: Decoder) -> HWAccel | None:
    """Return what ``av.open`` takes as ``hwaccel``; None to decode on the CPU.

    A codec that the GPU does not decode is left to the CPU: the codec context's ``is_hwaccel`` tells.

    Raises:
        SourceOpenError: there is no such device. ``av.open`` would say so too, in words that fit anything.
    """
    if decoder == "software":
        return None
    hardware = HWAccel(decoder, allow_software_fallback=True)
    try:
        hardware.create(av.Codec("h264", "r"))
    except (av.error.FFmpegError, OSError, NotImplementedError) as error:
        raise SourceOpenError(
            f"decoder {decoder}: no NVIDIA GPU can be opened for decoding ({reason(error)}): install its driver, or "
            "set decoder to software"
        ) from None
    return hardware
