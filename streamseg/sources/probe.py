"""Look at a source for some seconds and say what it is."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass

from streamseg.common.redact import redact
from streamseg.errors import EndOfStreamError
from streamseg.frame import FrameFormat, FrameStamps, StampSource
from streamseg.sources.open import SourceSettings, open_source


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a source is, as seen over some seconds.

    Attributes:
        address: Without credentials.
        kind: As in :class:`streamseg.sources.base.SourceInfo`.
        live: It has no end of its own.
        codec: For people.
        format: Of the last frame: size, pixel layout as delivered, colours.
        frames_announced: Length of a file in frames; None if unknown or endless.
        rate_announced: Frames a second, as the source says; None if it does not.
        rate_measured: Frames a second, as they came; None with fewer than two frames.
        seconds: How long was looked.
        frames: Frames seen.
        corrupt: Packets that could not be decoded.
        open_s: Until it was open.
        first_frame_s: Until the first frame, opening included.
        jitter_ms: Standard deviation of the time between two frames; None with fewer than three.
        longest_gap_ms: Longest time between two frames; None with fewer than two.
        decode_ms: Median time from a frame's data to its picture.
        clock: Of the last frame's wall-clock stamp. A camera's own (``rtcp``) begins some seconds after the start.
        clock_offset_ms: With ``rtcp``: median age of a frame when it was decoded, by its camera's clock: delay, plus
            by how much that clock is behind ours.
        ended: The source came to its end meanwhile.
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


def probe(config: SourceSettings, seconds: float = 5.0) -> ProbeReport:
    """Open a source as a stream would, read it for some seconds, and close it.

    Args:
        config: Of the stream.
        seconds: How long to read after the first frame.

    Blocks: up to the open time-out, ``seconds``, and the stall time-out.

    Raises:
        ConfigError: the address is none.
        SourceError: it cannot be opened, fails or stalls, or has no frame.
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
        looked_s = time.monotonic() - started - first_frame_s
        corrupt = source.corrupt
    finally:
        source.close()
    gaps_ms = [(after.t_captured_ns - before.t_captured_ns) / 1e6 for before, after in itertools.pairwise(stamps)]
    return ProbeReport(
        address=redact(config.source),
        kind=info.kind,
        live=info.live,
        codec=info.codec,
        format=frame.format,
        frames_announced=info.frames,
        rate_announced=info.frame_rate,
        rate_measured=1000 / statistics.mean(gaps_ms) if gaps_ms and sum(gaps_ms) > 0 else None,
        seconds=looked_s,
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
