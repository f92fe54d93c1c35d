"""Measures a source for a few seconds."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from streamseg.errors import EndOfStreamError
from streamseg.frame import FrameFormat, FrameStamps, SourceFrame, StampSource
from streamseg.sources.address import shown_address
from streamseg.sources.open import SourceSettings, open_source


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Properties of a source, measured over some seconds.

    Attributes:
        address: Address without credentials.
        kind: As in :class:`streamseg.sources.base.SourceInfo`.
        live: The source is endless.
        codec: Readable name of the codec.
        format: Format of the last frame: size, pixel layout as delivered, color.
        frames_announced: Length of a file in frames; None if unknown or endless.
        rate_announced: Frames per second that the source announces; None if it does not.
        rate_measured: Frames per second that arrived; None with fewer than two frames.
        seconds: Duration of the measurement.
        frames: Number of frames read.
        corrupt: Packets that could not be decoded, or had missing data.
        open_s: Time to open the source.
        first_frame_s: Time to the first frame, including opening.
        jitter_ms: Standard deviation of the time between two frames; None with fewer than three.
        longest_gap_ms: Longest time between two frames; None with fewer than two.
        decode_ms: Median time from a frame's data to its picture.
        clock: Clock of the last frame's wall time. The camera's own (``rtcp``) is known a few seconds after the start.
        clock_offset_ms: With ``rtcp``: median age of a decoded frame by the camera's clock: the delay, plus how far
            that clock is behind ours.
        ended: The source reached its end.
    """

    address: str
    kind: str
    live: bool
    codec: str
    format: FrameFormat
    frames_announced: int | None
    rate_announced: float | None
    rate_measured: float | None
    seconds: float
    frames: int
    corrupt: int
    open_s: float
    first_frame_s: float
    jitter_ms: float | None
    longest_gap_ms: float | None
    decode_ms: float
    clock: StampSource
    clock_offset_ms: float | None
    ended: bool


def probe(
    config: SourceSettings, seconds: float = 5.0, on_first: Callable[[SourceFrame], None] = lambda _: None
) -> ProbeReport:
    """Open a source as a stream would, read it for some seconds, and close it.

    Args:
        config: Settings of the stream.
        seconds: How long to read after the first frame.
        on_first: Called with the first frame, which is valid during the call.

    Blocks: up to the sum of the open timeout, ``seconds`` and the stall timeout.

    Raises:
        ConfigError: the address is invalid.
        SourceError: the source cannot be opened, fails, stalls, or has no frame.
    """
    source = open_source(config)
    started = time.monotonic()
    stamps: list[FrameStamps] = []
    offsets_ms: list[float] = []
    ended = False
    try:
        info = source.open()
        open_s = time.monotonic() - started
        frame = source.read()
        first_frame_s = time.monotonic() - started
        on_first(frame)
        while True:
            stamps.append(frame.stamps)
            if frame.stamps.t_source == "rtcp":
                offsets_ms.append((time.time_ns() - frame.stamps.t_wall_ns) / 1e6)
            if time.monotonic() - started - first_frame_s >= seconds:
                break
            try:
                frame = source.read()
            except EndOfStreamError:
                ended = True
                break
        measured_s = time.monotonic() - started - first_frame_s
        corrupt = source.corrupt + getattr(source, "damaged", 0)
    finally:
        source.close()
    gaps_ms = [(after.t_captured_ns - before.t_captured_ns) / 1e6 for before, after in itertools.pairwise(stamps)]
    return ProbeReport(
        address=shown_address(config.source),
        kind=info.kind,
        live=info.live,
        codec=info.codec,
        format=frame.format,
        frames_announced=info.frames,
        rate_announced=info.frame_rate,
        rate_measured=1000 / statistics.mean(gaps_ms) if gaps_ms and sum(gaps_ms) > 0 else None,
        seconds=measured_s,
        frames=len(stamps),
        corrupt=corrupt,
        open_s=open_s,
        first_frame_s=first_frame_s,
        jitter_ms=statistics.stdev(gaps_ms) if len(gaps_ms) >= 2 else None,
        longest_gap_ms=max(gaps_ms, default=None),
        decode_ms=statistics.median((stamp.t_decoded_ns - stamp.t_captured_ns) / 1e6 for stamp in stamps),
        clock=frame.stamps.t_source,
        clock_offset_ms=statistics.median(offsets_ms) if offsets_ms else None,
        ended=ended,
    )
