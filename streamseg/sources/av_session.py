"""One connection through FFmpeg, from opening to its end: packets in, timestamped pictures out."""

from __future__ import annotations

import errno
import logging
import math
import os
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, cast

import av
import av.error
from av import VideoFrame
from av.codec.context import ThreadType

from streamseg.common.image_file import ImageError, header_size, is_image
from streamseg.common.repeated_logs import is_logged
from streamseg.errors import (
    EndOfStreamError,
    SourceDisconnectedError,
    SourceError,
    SourceOpenError,
    SourceStalledError,
)
from streamseg.frame import SQUARE
from streamseg.sources.av_clock import PacketClock, PacketStamp
from streamseg.sources.av_codec import CodecChange, packet_from
from streamseg.sources.av_decoder import decoded_by_gpu
from streamseg.sources.av_deinterlace import Deinterlace, Deinterlacer
from streamseg.sources.av_errors import open_error, reason
from streamseg.sources.av_open import DECODER_OPTIONS, MAY_BE_LIVE, VideoOpener
from streamseg.sources.av_options import AvKind, Decoder, Transport
from streamseg.sources.av_progress import ReadProgress
from streamseg.sources.stall_clock import StallClock

log = logging.getLogger(__name__)

NO_PICTURE_S: Final = 30.0
"""How long packets may arrive without a picture: a camera's next key frame can be more than 10 s away."""

_ALWAYS_LIVE: Final = frozenset({"rtsp", "rtmp", "udp", "rtp", "srt", "sdp", "snapshot", "screen", "v4l2"})
_MAX_CORRUPT_RUN: Final = 300
_MAX_ASPECT: Final = 16
"""A more extreme pixel aspect ratio than this is damaged data."""

_MAX_SHORT_HLS_S: Final = 0.25
"""Tolerance between durations in a playlist and in its segments, if the connection may have broken."""

_MAX_REORDERED: Final = 64
"""More packets than a decoder buffers for B-frames and for its threads."""

_DECODER_THREADS: Final = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class StampedPicture:
    """A decoded picture.

    Attributes:
        picture: FFmpeg's picture.
        stamp: Capture time of the packet that became this picture, even with B-frames.
        decode_ns: Time spent in the decoder call that returned it.
        sample_aspect: Width to height of a pixel as displayed.
        discontinuity: Why it does not follow the previous picture; empty if it does.
    """

    picture: VideoFrame
    stamp: PacketStamp
    decode_ns: int
    sample_aspect: tuple[int, int]
    discontinuity: str


class AvSession:
    """An open container, its video stream and decoder. Used by one thread.

    Args:
        address: Address in FFmpeg's form, or with a listening scheme.
        kind: Kind of the source.
        transport: RTSP only.
        open_timeout_s: Maximum time to open it.
        stall_timeout_s: Longest time without a packet of a live source.
        low_delay: Decode without frame threads, since each delays all pictures by one frame.
        decoder: Where to decode.
        video_stream: Which of several video streams, from 0; None: the one that FFmpeg considers the best.
        deinterlace: Which pictures to deinterlace.
        follow_redirects: http and https: follow the server to another address, by a redirect or a playlist.

    Attributes:
        kind: As given, or ``hls`` if an HTTP address turned out to be one.
        live: The source is endless.
        pictures: Pictures decoded so far.
        corrupt: Packets that could not be decoded.
        damaged: Packets with missing or wrong data that could be decoded. Not counted for live sources.

    Blocks: up to ``open_timeout_s``; longer if a name server does not answer.

    Raises:
        SourceOpenError: it cannot be opened.
        SourceNotFoundError: the server says that it does not have it, or there is no such file or device.
        SourceAuthError: the credentials are wrong or missing.
    """

    def __init__(
        self,
        address: str,
        kind: AvKind,
        *,
        transport: Transport,
        open_timeout_s: float,
        stall_timeout_s: float,
        low_delay: bool,
        decoder: Decoder = "software",
        video_stream: int | None = None,
        deinterlace: Deinterlace = "off",
        follow_redirects: bool = True,
    ) -> None:
        self.pictures = self.corrupt = self.damaged = 0
        self._stall_timeout_s = stall_timeout_s
        read_timeout_s = stall_timeout_s / 2 if kind == "rtsp" else stall_timeout_s  # StallClock says why
        opener = VideoOpener(
            address, kind, transport, open_timeout_s, read_timeout_s, decoder, video_stream, follow_redirects
        )
        self._address = opener.shown
        self._shown = self._address.shown
        video = opener.open()
        self._container, self.stream = video.container, video.stream
        self.kind: AvKind = "hls" if kind == "http" and self._container.format.name.startswith("hls") else kind
        self.live = kind in _ALWAYS_LIVE or (kind in MAY_BE_LIVE and self._is_endless())
        self._low_delay = low_delay or self.live
        self._context = self._prepared(self.stream.codec_context)
        self._codec_watch = video.watch
        self._codec_changes = 0
        self._deinterlacer = Deinterlacer(deinterlace)
        self._discontinuity = (0, "")
        self._first_aspect = self._context.sample_aspect_ratio
        self._clock = PacketClock()
        self._packets = self._demux()
        self._progress = ReadProgress(self._container, self.stream)
        self._pending = video.first
        if video.first is not None:
            self._progress.note(video.first)
        self._failure: str | None = None
        self._decoded: list[VideoFrame] = []
        flush_after_s = read_timeout_s if kind == "rtsp" else math.inf
        self._stall_clock = StallClock(time.monotonic(), stall_timeout_s, flush_after_s)
        self._stamp: PacketStamp | None = None
        self._decode_ns = 0
        self._corrupt_run = 0
        self._damaged_stamps: deque[PacketStamp] = deque(maxlen=_MAX_REORDERED)
        self._cut_off = False
        self._hardware = video.hardware
        self._asked_gpu = video.hardware is not None

    def next_picture(self, timeout_s: float = NO_PICTURE_S) -> StampedPicture:
        """Return the next picture.

        Blocks: up to the stall timeout while nothing arrives, up to ``timeout_s`` while packets arrive without a
        picture.

        Raises:
            EndOfStreamError: the end of the source, or the rest of a file on this machine cannot be read.
            SourceStalledError: no packet within the stall timeout.
            SourceDisconnectedError: a live source ended or failed, its packets cannot be decoded, or the connection
                broke before the end of a file.
            SourceOpenError: a live source failed before its first picture.
            SourceError: the source ended, and no picture could be decoded.
        """
        deadline = time.monotonic() + timeout_s
        while not self._decoded:
            if self._failure is not None:
                raise self._end_error()
            self._advance()
            if not self._decoded and time.monotonic() > deadline:
                raise SourceDisconnectedError(
                    f"{self._shown}: packets arrive, but none could be decoded to a picture for {timeout_s:.0f} s: "
                    "check the camera's codec and key frame interval"
                )
        self.pictures += 1
        picture = self._decoded.pop(0)
        stamp = picture.opaque if isinstance(picture.opaque, PacketStamp) else self._stamp
        assert stamp is not None
        if picture.is_corrupt and not self.live and stamp not in self._damaged_stamps:
            self._note_damage()
        at, why = self._discontinuity
        discontinuity = why if self.pictures == at else ""
        return StampedPicture(picture, stamp, self._decode_ns, self._sample_aspect(), discontinuity)

    def close(self) -> None:
        """Free the connection, the decoder and its threads."""
        self._decoded.clear()
        self._packets.close()
        self._container.close()

    def _demux(self) -> Generator[Any, None, None]:
        # Demux all streams, so that packets of others cannot hide that the video is silent.
        return cast(Generator[Any, None, None], self._container.demux())

    def _check_image(self, packet: Any) -> None:
        """Raise an error if the decoder refused the first picture because the image is too large."""
        if self.pictures:
            return
        data = bytes(packet)
        try:
            if is_image(data):
                header_size(data)
        except ImageError as error:
            raise SourceOpenError(f"{self._shown}: {error}") from None

    def _is_endless(self) -> bool:
        """Whether a server's response is endless. Only known once it is open: a file and a camera look alike before."""
        if self._container.duration is not None:
            return False
        return self.kind == "hls" or self._container.size <= 0

    def _advance(self) -> None:
        """Decode the next packet; at the end, flush the decoder."""
        try:
            packet = self._next_packet()
        except StopIteration:
            self._failure = ""
            self._decoded += self._deinterlacer.flush()
        except (av.error.FFmpegError, OSError) as error:
            if self.live and not self.pictures:  # a snapshot is not requested earlier
                raise open_error(error, self._address, self.kind, elapsed_s=0.0, timeout_s=math.inf) from None
            self._failure = "" if self._is_plain_end(error) else self._reason(error)
            self._decoded = self._drain()
        else:
            self._decode(packet)

    def _is_plain_end(self, error: av.error.FFmpegError | OSError) -> bool:
        """Whether an error is the end of a response without a length, which FFmpeg takes for a broken connection."""
        if self.kind not in MAY_BE_LIVE or error.errno != errno.EIO:
            return False
        # In a playlist, only the last segment is at its end, and its size is unknown.
        return self._container.size <= 0 and not (self.kind == "hls" and self._progress.missing(_MAX_SHORT_HLS_S))

    def _end_error(self) -> SourceError:
        """Return the error to raise once all pictures of a source are delivered; it tells their number."""
        if self.live:
            why = f"connection lost ({self._failure})" if self._failure else "the server ended the stream"
            return SourceDisconnectedError(f"{self._shown}: {why}")
        bad = self.corrupt + self.damaged
        damage = f", {bad} damaged packet{'' if bad == 1 else 's'}" if bad else ""
        if not self.pictures:
            why = f": {self._failure}" if self._failure else ""
            read = f"{self._progress.packets} packets read"
            return SourceError(f"{self._shown}: no picture could be decoded ({read}{damage}{why}): check the file")
        count = f"{self.pictures} picture{'' if self.pictures == 1 else 's'}{damage}"
        if self._codec_changes:
            times = "once" if self._codec_changes == 1 else f"{self._codec_changes} times"
            count += f"; its codec changes {times}, and the last pictures before that may be missing"
        missing = self._failure or self._progress.missing() or ("it ends within a picture" if self._cut_off else "")
        if not missing:
            return EndOfStreamError(f"{self._shown}: end of the video after {count}")
        if self.kind in MAY_BE_LIVE:
            return SourceDisconnectedError(
                f"{self._shown}: the connection broke before the end of the video ({missing}), after {count}"
            )
        log.warning("%s: the file is cut off or damaged (%s)", self._shown, missing)
        return EndOfStreamError(f"{self._shown}: the rest cannot be read ({missing}), after {count}")

    def _drain(self) -> list[VideoFrame]:
        """Return the pictures that are still in the decoder."""
        try:
            decoded = list(self._context.decode(None))
        except (av.error.FFmpegError, OSError, ValueError):
            decoded = []
        for picture in decoded:
            picture.time_base = self.stream.time_base  # PyAV takes it from the packet, but a flush has none
        return [*self._deinterlacer.pictures(decoded), *self._deinterlacer.flush()]

    def _next_packet(self) -> Any:
        packet, self._pending = self._pending or self._read_packet(), None
        if packet.is_corrupt and packet.size and not self.live:
            self._note_damage()
            self._cut_off = True
            following = self._read_packet()
            if following.size:
                self._pending, self._cut_off = following, False
            else:
                # Truncated within its last packet. On an error, frame threads would drop the pictures before it.
                return following
        return packet

    def _note_damage(self) -> None:
        self._warn_of_damage()
        self.damaged += 1

    def _note_corrupt(self) -> None:
        self._warn_of_damage()
        self.corrupt += 1
        self._corrupt_run += 1

    def _warn_of_damage(self) -> None:
        if not (self.damaged or self.corrupt or self.live):
            log.warning("%s: damaged data after %d pictures: going on", self._shown, self.pictures)

    def _read_packet(self) -> Any:
        while True:
            asked = time.monotonic()
            try:
                packet = next(self._packets)
            except (av.error.ExitError, TimeoutError):
                self._stall_clock.timed_out()
                self._check_stalled()
                self._packets = self._demux()  # an iterator that raised is exhausted
            except IndexError:  # PyAV, at a packet of a stream that began after the container was opened
                self._packets = self._demux()
                self._check_stalled()
            else:
                if packet.stream is self.stream:
                    self._stall_clock.packet(asked, time.monotonic())
                    if packet.size:
                        self._progress.note(packet)
                    return packet
                self._check_stalled()  # audio packets do not count as video

    def _check_stalled(self) -> None:
        if self.live and self._stall_clock.stalled(time.monotonic()):
            raise SourceStalledError(f"{self._shown}: no video for {self._stall_timeout_s:.3g} s")

    def _prepared(self, context: Any) -> Any:
        context.thread_type = ThreadType.SLICE if self._low_delay else ThreadType.AUTO
        context.thread_count = _DECODER_THREADS
        context.options = dict(DECODER_OPTIONS)
        context.copy_opaque = True  # passes each packet's stamp on to its picture
        return context

    def _change_decoder(self, packet: Any, change: CodecChange) -> Any:
        """Switch to another codec's decoder at its first packet; return that packet without data of the old codec."""
        self._decoded = self._drain()
        if change.offset:  # FFmpeg's parser held a picture of the old codec back
            self._note_corrupt()
        if self._progress.packets > 1:  # otherwise FFmpeg only reported the codec of a later part
            self._codec_changes += 1
            why = f"codec changed from {self._context.name} to {change.codec}"
            self._discontinuity = (self.pictures + len(self._decoded) + 1, why)
            if is_logged(self._codec_changes):
                log.warning("%s: %s; the last pictures before it may be missing", self._shown, why)
        self._context = self._prepared(av.CodecContext.create(change.codec, "r", hwaccel=self._hardware))
        return packet_from(packet, change.offset)

    def _sample_aspect(self) -> tuple[int, int]:
        """Return the container's sample aspect ratio, or the decoder's if that has changed since it was opened."""
        coded = self._context.sample_aspect_ratio
        ratio = coded if coded != self._first_aspect else self.stream.sample_aspect_ratio
        if not ratio or not 1 / _MAX_ASPECT <= ratio <= _MAX_ASPECT:
            return SQUARE
        return ratio.numerator, ratio.denominator

    def _reason(self, error: Exception) -> str:
        return self._address.without_secrets(reason(error))

    def _decode(self, packet: Any) -> None:
        self._stamp = self._clock.stamp(packet)
        if packet.is_corrupt:
            self._damaged_stamps.append(self._stamp)
        if (change := self._codec_watch.change(packet)) is not None:
            packet = self._change_decoder(packet, change)
        packet.opaque = self._stamp
        try:
            self._decoded += self._deinterlacer.pictures(self._context.decode(packet))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if packet.is_corrupt and not self.live:
                self.damaged -= 1  # counted here instead
            self._check_image(packet)
            self._note_corrupt()
            if self._corrupt_run >= _MAX_CORRUPT_RUN and self.live:
                raise SourceDisconnectedError(
                    f"{self._shown}: {self._corrupt_run} packets in a row could not be decoded ({self._reason(error)})"
                ) from None
        self._decode_ns = time.monotonic_ns() - self._stamp.t_captured_ns
        if self._decoded:
            self._corrupt_run = 0
            if self._asked_gpu and not decoded_by_gpu(self._decoded[0]):
                log.warning("the GPU cannot decode this video (%s): decoding on the CPU", self._context.name)
            self._asked_gpu = False
