"""One connection through FFmpeg, from opening to its end: packets in, timestamped pictures out."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, cast

import av
import av.error
from av import VideoFrame
from av.codec.context import ThreadType

from streamseg.errors import EndOfStreamError, SourceDisconnectedError, SourceOpenError, SourceStalledError
from streamseg.sources.address import SourceAddress
from streamseg.sources.av_clock import PacketClock, PacketStamp
from streamseg.sources.av_decoder import decoded_by_gpu, hardware_of
from streamseg.sources.av_errors import open_error, reason
from streamseg.sources.av_options import AvKind, Decoder, Transport, open_arguments
from streamseg.sources.stall_clock import StallClock

log = logging.getLogger(__name__)

NO_PICTURE_S: Final = 30.0
"""How long packets may arrive without a picture: a camera's next key frame can be more than 10 s away."""

_ALWAYS_LIVE: Final = frozenset({"rtsp", "rtmp", "v4l2"})
_MAY_BE_LIVE: Final = frozenset({"http", "hls"})
_MAX_CORRUPT_RUN: Final = 300
_DECODER_THREADS: Final = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class StampedPicture:
    """A decoded picture.

    Attributes:
        picture: FFmpeg's picture.
        stamp: Capture time of the packet that became this picture, also with B-frames.
        decode_ns: Time spent in the decoder call that returned it.
    """

    picture: VideoFrame
    stamp: PacketStamp
    decode_ns: int


class AvSession:
    """An open container, its video stream and decoder. Used by one thread.

    Args:
        address: Address in FFmpeg's form, or with a listening scheme.
        kind: Kind of the source.
        transport: RTSP only.
        open_timeout_s: Maximum time to open it.
        stall_timeout_s: Longest time without a packet of a live source.
        low_delay: Decode without frame threads, each of which delays every picture by one frame.
        decoder: Where to decode.

    Attributes:
        live: The source has no end of its own.
        corrupt: Packets that could not be decoded.

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
    ) -> None:
        self.corrupt = 0
        self._address = SourceAddress.of(address)
        self._shown = self._address.shown
        self._stall_timeout_s = stall_timeout_s
        arguments = open_arguments(address, kind, transport=transport, open_timeout_s=open_timeout_s)
        # PyAV applies the timeout twice: to connecting and to detecting the streams.
        step_timeout_s = open_timeout_s / 2
        read_timeout_s = stall_timeout_s / 2 if kind == "rtsp" else stall_timeout_s  # StallClock says why
        hardware = hardware_of(decoder)
        started = time.monotonic()
        try:
            self._container = av.open(
                arguments.url,
                "r",
                format=arguments.format,
                # Not `options`: PyAV 16 crashes with them if streams appear late (FLV, MPEG-TS).
                container_options=arguments.options,
                timeout=(step_timeout_s, read_timeout_s),
                metadata_errors="replace",
                hwaccel=hardware,
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            elapsed_s = time.monotonic() - started
            # `from None`: FFmpeg's own text contains the address with its password, and tracebacks are logged.
            raise open_error(error, self._address, kind, elapsed_s=elapsed_s, timeout_s=step_timeout_s) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceOpenError(f"{self._shown}: contains no video")
        self.live = kind in _ALWAYS_LIVE or (kind in _MAY_BE_LIVE and self._container.duration is None)
        self.stream = self._container.streams.video[0]
        self._context = self.stream.codec_context
        self._context.thread_type = ThreadType.SLICE if low_delay or self.live else ThreadType.AUTO
        self._context.thread_count = _DECODER_THREADS
        self._context.copy_opaque = True  # passes each packet's stamp on to its picture
        self._clock = PacketClock()
        self._packets = self._demux()
        self._decoded: list[VideoFrame] = []
        flush_after_s = read_timeout_s if kind == "rtsp" else math.inf
        self._stall_clock = StallClock(time.monotonic(), stall_timeout_s, flush_after_s)
        self._stamp: PacketStamp | None = None
        self._decode_ns = 0
        self._corrupt_run = 0
        self._asked_gpu = hardware is not None

    def next_picture(self, timeout_s: float = NO_PICTURE_S) -> StampedPicture:
        """Return the next picture.

        Blocks: up to the stall timeout while nothing arrives, up to ``timeout_s`` while packets arrive without a
        picture.

        Raises:
            EndOfStreamError: the end of the source, or the rest of it cannot be read.
            SourceStalledError: no packet within the stall timeout.
            SourceDisconnectedError: a live source ended or failed, or its packets cannot be decoded.
        """
        deadline = time.monotonic() + timeout_s
        while not self._decoded:
            self._decode(self._next_packet())
            if not self._decoded and time.monotonic() > deadline:
                raise SourceDisconnectedError(
                    f"{self._shown}: packets arrive, but none could be decoded to a picture for {timeout_s:.0f} s: "
                    "check the camera's codec and key frame interval"
                )
        picture = self._decoded.pop(0)
        stamp = picture.opaque if isinstance(picture.opaque, PacketStamp) else self._stamp
        assert stamp is not None
        return StampedPicture(picture, stamp, self._decode_ns)

    def close(self) -> None:
        """Free the connection, the decoder and its threads."""
        self._decoded.clear()
        self._packets.close()
        self._container.close()

    def _demux(self) -> Generator[Any, None, None]:
        # All streams, so that packets of the others cannot hide that the video is silent.
        return cast(Generator[Any, None, None], self._container.demux())

    def _next_packet(self) -> Any:
        while True:
            asked = time.monotonic()
            try:
                packet = next(self._packets)
            except StopIteration:
                if self.live:
                    raise SourceDisconnectedError(f"{self._shown}: the server ended the stream") from None
                raise EndOfStreamError(f"{self._shown}: end of the video") from None
            except (av.error.ExitError, TimeoutError):
                self._stall_clock.timed_out()
                self._check_stalled()
                self._packets = self._demux()  # an iterator that raised is exhausted
            except (av.error.FFmpegError, OSError) as error:
                self._fail(error)
            else:
                if packet.stream is self.stream:
                    self._stall_clock.packet(asked, time.monotonic())
                    return packet
                self._check_stalled()  # audio packets do not count as video

    def _check_stalled(self) -> None:
        if self.live and self._stall_clock.stalled(time.monotonic()):
            raise SourceStalledError(f"{self._shown}: no video for {self._stall_timeout_s:.3g} s")

    def _fail(self, error: Exception) -> None:
        if self.live:
            raise SourceDisconnectedError(f"{self._shown}: connection lost ({self._reason(error)})") from None
        self.corrupt += 1
        raise EndOfStreamError(f"{self._shown}: the rest cannot be read ({self._reason(error)})") from None

    def _reason(self, error: Exception) -> str:
        return self._address.without_secrets(reason(error))

    def _decode(self, packet: Any) -> None:
        self._stamp = self._clock.stamp(packet)
        packet.opaque = self._stamp
        try:
            self._decoded = packet.decode()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.corrupt += 1
            self._corrupt_run += 1
            if self._corrupt_run >= _MAX_CORRUPT_RUN:
                raise SourceDisconnectedError(
                    f"{self._shown}: {self._corrupt_run} packets in a row could not be decoded ({self._reason(error)})"
                ) from None
        self._decode_ns = time.monotonic_ns() - self._stamp.t_captured_ns
        if self._decoded:
            self._corrupt_run = 0
            if self._asked_gpu and not decoded_by_gpu(self._decoded[0]):
                log.warning("the GPU cannot decode this video (%s): decoding on the CPU", self._context.name)
            self._asked_gpu = False
