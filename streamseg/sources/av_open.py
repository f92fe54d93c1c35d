"""Open a container and choose its video stream, with errors in plain words."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import av
import av.error

from streamseg.common.image_file import MAX_PIXELS
from streamseg.errors import SourceError, SourceOpenError
from streamseg.sources.address import SourceAddress
from streamseg.sources.av_codec import CodecWatch
from streamseg.sources.av_decoder import hardware_of
from streamseg.sources.av_errors import open_error
from streamseg.sources.av_file import checked_file
from streamseg.sources.av_options import AvKind, Decoder, Transport, open_arguments
from streamseg.sources.av_stream import check_pixels, choose_stream

MAY_BE_LIVE: Final = frozenset({"http", "hls"})
DECODER_OPTIONS: Final = {"max_pixels": str(MAX_PIXELS)}

_PREFIXED: Final = frozenset({"screen", "lavfi"})
"""Kinds whose addresses lack their prefix here."""

_SHORT_PROBE: Final = {"probesize": "1024"}
"""FFmpeg reads one picture to detect a stream's type, and nothing beyond it."""

_NO_PLAYLISTS: Final = (
    "the server sends no video, but perhaps a playlist (HLS, DASH), which can lead to other addresses: give the "
    "address of the video itself, or set follow_redirects (for streams added by HTTP: http.allow_own_addresses)"
)


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """An open container.

    Attributes:
        container: PyAV's container.
        stream: Its video stream; has a decoder.
        watch: Watches the codec of its packets.
        first: A packet that was already read; None if none was.
        hardware: Device of its decoder; None: the CPU.
    """

    container: Any
    stream: Any
    watch: CodecWatch
    first: Any | None
    hardware: Any | None


@dataclass(frozen=True, slots=True)
class VideoOpener:
    """Opens one source.

    Attributes:
        address: Address in FFmpeg's form, or with a listening scheme.
        kind: Kind of the source.
        transport: RTSP only.
        open_timeout_s: Maximum time to open it.
        read_timeout_s: Longest wait of one read.
        decoder: Where to decode.
        video_stream: Which of several video streams, from 0; None: the one that FFmpeg considers the best.
        follow_redirects: http and https: follow the server to another address, by a redirect or a playlist.
    """

    address: str
    kind: AvKind
    transport: Transport
    open_timeout_s: float
    read_timeout_s: float
    decoder: Decoder
    video_stream: int | None
    follow_redirects: bool

    @property
    def shown(self) -> SourceAddress:
        """The address for messages."""
        return SourceAddress.of(f"{self.kind}:{self.address}" if self.kind in _PREFIXED else self.address)

    def open(self) -> OpenVideo:
        """Open it.

        Blocks: up to ``open_timeout_s``; longer if a name server does not answer.

        Raises:
            SourceOpenError: it cannot be opened.
            SourceNotFoundError: the server says that it does not have it, or there is no such file or device.
            SourceAuthError: the credentials are wrong or missing.
        """
        video = self._open({})
        first = self._first_packet(video.container, video.stream)
        if first is None or video.watch.change(first) is None:
            return OpenVideo(video.container, video.stream, video.watch, first, video.hardware)
        # FFmpeg has read ahead into a part with another codec, and parses the packets of the first part as if in it.
        video.container.close()
        return self._open(_SHORT_PROBE)

    def _open(self, options: dict[str, str]) -> OpenVideo:
        hardware = hardware_of(self.decoder)
        started = time.monotonic()
        container = self._container(options, hardware, started)
        try:
            stream = choose_stream(container, self.video_stream, self.shown.shown)
            if stream.codec_context is None:
                raise self._no_decoder(container, started)
            check_pixels(stream, self.shown.shown)
        except SourceError:
            container.close()
            raise
        return OpenVideo(
            container, stream, CodecWatch(container.format.name, stream, stream.codec_context.name), None, hardware
        )

    def _container(self, options: dict[str, str], hardware: Any, started: float) -> Any:
        arguments = open_arguments(
            self.address,
            self.kind,
            transport=self.transport,
            open_timeout_s=self.open_timeout_s,
            follow_redirects=self.follow_redirects,
        )
        shown = self.shown
        # PyAV applies the timeout twice: to connecting and to detecting the streams.
        step_timeout_s = self.open_timeout_s / 2
        try:
            checked = (
                checked_file(self.address, shown.shown, self.open_timeout_s)
                if self.kind == "file"
                else nullcontext(arguments.url)
            )
            with checked as url:
                return av.open(
                    url,
                    "r",
                    format=arguments.format,
                    # PyAV passes `options` on to the decoders with which FFmpeg detects a stream's type.
                    options=dict(DECODER_OPTIONS),
                    container_options=arguments.options | options,
                    timeout=(step_timeout_s, self.read_timeout_s),
                    metadata_errors="replace",
                    hwaccel=hardware,
                )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            elapsed_s = time.monotonic() - started
            # `from None`: FFmpeg's own text contains the address with its password, and tracebacks are logged.
            if not self.follow_redirects and self.kind in MAY_BE_LIVE and isinstance(error, av.error.ArgumentError):
                raise SourceOpenError(f"{shown}: {_NO_PLAYLISTS}") from None
            raise open_error(error, shown, self.kind, elapsed_s=elapsed_s, timeout_s=step_timeout_s) from None

    def _no_decoder(self, container: Any, started: float) -> SourceOpenError:
        """Return the error for a stream of unknown type: FFmpeg cannot decode it, or got no picture of it."""
        try:
            next(container.demux())
        except (av.error.FFmpegError, OSError, ValueError) as error:
            elapsed_s = time.monotonic() - started
            return open_error(error, self.shown, self.kind, elapsed_s=elapsed_s, timeout_s=self.open_timeout_s / 2)
        except (StopIteration, IndexError):  # IndexError: a packet of a stream that has just begun
            pass
        return SourceOpenError(
            f"{self.shown}: no picture could be read: it is empty, or of a kind that FFmpeg cannot decode"
        )

    def _first_packet(self, container: Any, stream: Any) -> Any | None:
        """Return the first packet of a transport stream that can be opened twice; None for any other source."""
        if self.kind != "file" or container.format.name != "mpegts" or container.name.startswith("pipe:"):
            return None
        try:
            return next((packet for packet in container.demux() if packet.stream is stream and packet.size), None)
        except (av.error.FFmpegError, OSError, IndexError):
            return None  # the next read meets it, too
