"""Video through FFmpeg (PyAV): RTSP, RTMP, HTTP (MJPEG and others), HLS, V4L2 devices, files, lavfi graphs."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Final

from streamseg.errors import EndOfStreamError, SourceDisconnectedError, SourceError, SourceOpenError
from streamseg.frame import FrameStamps, SourceFrame
from streamseg.sources.address import shown_address
from streamseg.sources.av_deinterlace import Deinterlace
from streamseg.sources.av_options import AvKind, Decoder, Transport
from streamseg.sources.av_picture import PictureReader
from streamseg.sources.av_session import NO_PICTURE_S, AvSession, StampedPicture
from streamseg.sources.base import Pace, SourceInfo
from streamseg.sources.pacer import Pacer

_RATE_IF_UNKNOWN: Final = 25.0
_SNAPSHOT_FPS: Final = 5.0


class AvSource:
    """A source that FFmpeg reads. Implements :class:`streamseg.sources.base.FrameSource`.

    A live source is delivered as it arrives: the caller must drain it. A finite source is delivered at the pace of its
    timestamps (``live``) or as fast as it is read (``fast``); HTTP and HLS addresses count as live unless they announce
    a duration. HLS arrives in bursts of a segment and is therefore always paced.

    With B-frames, stamps come from the picture's own packet. Pictures are turned upright by their display matrix.

    Args:
        address: Address in FFmpeg's form: ``/dev/video0``, a lavfi graph without prefix, a file, or a URL.
            ``rtsp+listen://`` and ``rtmp+listen://`` bind that address and wait for a publisher.
        kind: Kind of the source.
        transport: RTSP only.
        open_timeout_s: Maximum time to open it.
        stall_timeout_s: Longest time without a packet of a live source.
        pace: Not for live sources: release frames at their own rate (``live``), at once (``fast``), or at their own
            rate without ever falling behind (``camera``).
        loop: Not for live sources: start over at the end.
        decoder: Where to decode.
        video_stream: Which of several video streams, from 0; None: the one that FFmpeg considers the best.
        deinterlace: Which pictures to deinterlace. Deinterlaced ones arrive one frame later.
        fps: Snapshots only: how many to request per second; None: 5.
        follow_redirects: http and https: follow the server to another address, by a redirect or a playlist.
    """

    def __init__(
        self,
        address: str,
        kind: AvKind,
        *,
        transport: Transport = "tcp",
        open_timeout_s: float = 10.0,
        stall_timeout_s: float = 5.0,
        pace: Pace = "live",
        loop: bool = False,
        decoder: Decoder = "software",
        video_stream: int | None = None,
        deinterlace: Deinterlace = "off",
        fps: float | None = None,
        follow_redirects: bool = True,
    ) -> None:
        self._address = address
        self._kind: AvKind = kind
        self._transport: Transport = transport
        self._open_timeout_s = open_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._paced = pace != "fast"
        self._catch_up = pace == "camera"
        self._loop = loop
        self._video_stream = video_stream
        self._deinterlace: Deinterlace = deinterlace
        self._fps = fps or _SNAPSHOT_FPS
        self._decoder: Decoder = decoder
        self._follow_redirects = follow_redirects
        self._pictures = PictureReader()
        self._session: AvSession | None = None
        self._pacer: Pacer | None = None
        self._first: StampedPicture | None = None
        self._released = 0
        self._corrupt_before = 0

    @property
    def damaged(self) -> int:
        """Packets of the current connection that were decoded with missing data."""
        return self._session.damaged if self._session else 0

    @property
    def corrupt(self) -> int:
        """Packets since construction that could not be decoded."""
        return self._corrupt_before + (self._session.corrupt if self._session else 0)

    def open(self) -> SourceInfo:
        """Open the source.

        Blocks: up to the open timeout; longer if a name server does not answer.

        Raises:
            SourceOpenError: it cannot be opened.
            SourceNotFoundError: the server says that it does not have it, or there is no such file or device.
            SourceAuthError: the credentials are wrong or missing.
        """
        self.close()
        deadline = time.monotonic() + self._open_timeout_s
        session = self._session = self._connect()
        live, stream = session.live, session.stream
        # If no pictures were counted, FFmpeg guesses from fields: twice the rate of most H.264 streams.
        announced = stream.average_rate or stream.codec_context.framerate or stream.guessed_rate
        rate = self._fps if self._kind == "snapshot" else announced
        if (session.kind == "hls" and (live or self._paced)) or (self._paced and not live):
            self._pacer = Pacer(1.0 / float(rate or _RATE_IF_UNKNOWN), catch_up=live or self._catch_up)
        elif self._kind == "snapshot":
            self._pacer = Pacer(1.0 / self._fps)
        width, height = stream.codec_context.width, stream.codec_context.height
        if not (width and height):
            first = self._first_picture(max(0.1, deadline - time.monotonic()))
            width, height = first.picture.width, first.picture.height
        return SourceInfo(
            kind=session.kind,
            live=live,
            width=width,
            height=height,
            frame_rate=float(rate) if rate else None,
            codec=stream.codec_context.name,
            frames=None if live or self._loop else stream.frames or None,
        )

    def read(self) -> SourceFrame:
        """Return the next decoded frame.

        Blocks: until the next frame, up to the stall timeout (live) or until it is due (at most 10 s).

        Raises:
            EndOfStreamError: the end of the source, or the rest of it cannot be read.
            SourceStalledError: no packet within the stall timeout.
            SourceDisconnectedError: a live source ended or failed, or its packets cannot be decoded.
        """
        stamped, self._first = self._first or self._next_picture(), None
        frame_format, planes = self._pictures.read(stamped.picture, stamped.sample_aspect)
        self._released += 1
        return SourceFrame(frame_format, planes, self._stamps(stamped), stamped.discontinuity)

    def close(self) -> None:
        """Free the connection, the decoder and its threads. Safe to call twice, and after a failed open."""
        if self._session is not None:
            self._corrupt_before += self._session.corrupt
            self._session.close()
        self._session = self._pacer = self._first = None

    def _connect(self) -> AvSession:
        self._released = 0
        return AvSession(
            self._address,
            self._kind,
            transport=self._transport,
            open_timeout_s=self._open_timeout_s,
            stall_timeout_s=self._stall_timeout_s,
            low_delay=self._paced,
            decoder=self._decoder,
            video_stream=self._video_stream,
            deinterlace=self._deinterlace,
            follow_redirects=self._follow_redirects,
        )

    def _first_picture(self, timeout_s: float) -> StampedPicture:
        try:
            self._first = self._next_picture(timeout_s)
        except SourceOpenError:
            self.close()
            raise
        except SourceError as error:
            self.close()
            shown = shown_address(self._address)
            raise SourceOpenError(f"{shown}: opened, but no picture arrived ({error})") from None
        return self._first

    def _next_picture(self, timeout_s: float | None = None) -> StampedPicture:
        while True:
            if self._session is None:
                raise SourceDisconnectedError(f"{shown_address(self._address)}: not open: call open() first")
            try:
                return self._session.next_picture(timeout_s or max(NO_PICTURE_S, self._stall_timeout_s))
            except EndOfStreamError:
                if not (self._loop and self._released):  # without a picture it would loop forever
                    raise
                self._start_over()

    def _start_over(self) -> None:
        pacer = self._pacer
        self.close()
        self._session, self._pacer = self._connect(), pacer  # keep the pace across the seam

    def _stamps(self, stamped: StampedPicture) -> FrameStamps:
        picture, stamp = stamped.picture, stamped.stamp
        time_base = picture.time_base or Fraction(1, 1)
        t_wall_ns, t_source, t_captured_ns = stamp.t_wall_ns, stamp.t_source, stamp.t_captured_ns
        t_decoded_ns = time.monotonic_ns()
        if self._pacer is not None:
            # The timestamps of snapshots only count them.
            unknown = picture.pts is None or self._kind == "snapshot"
            self._pacer.wait(None if unknown else float((picture.pts or 0) * time_base))
        if self._session is not None and not self._session.live:
            # Stamp it as if its data had arrived and been decoded when the frame was due.
            t_wall_ns, t_source, t_decoded_ns = time.time_ns(), "file", time.monotonic_ns()
            t_captured_ns = t_decoded_ns - stamped.decode_ns
        return FrameStamps(
            t_wall_ns=t_wall_ns,
            t_source=t_source,
            t_captured_ns=t_captured_ns,
            t_decoded_ns=t_decoded_ns,
            pts=picture.pts,
            time_base=(time_base.numerator, time_base.denominator),
        )
