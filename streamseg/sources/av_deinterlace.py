"""Deinterlaces pictures with FFmpeg's bwdif, one for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import av.error
from av import VideoFrame
from av.filter import Graph

Deinterlace = Literal["auto", "on", "off"]

_PICTURES: Final[dict[Deinterlace, str]] = {"auto": "interlaced", "on": "all"}


class Deinterlacer:
    """Deinterlaces the pictures of one decoder. Used by one thread.

    The filter needs the next picture, so each is delayed by one. Until the first interlaced one, pictures pass at once.

    Args:
        mode: ``auto``: pictures marked as interlaced; ``on``: all; ``off``: none.
    """

    def __init__(self, mode: Deinterlace) -> None:
        self._mode: Deinterlace = mode
        self._graph: Graph | None = None
        self._layout: tuple[object, ...] = ()

    def pictures(self, decoded: Iterable[VideoFrame]) -> list[VideoFrame]:
        """Return the pictures that are ready, with their time stamps and ``opaque``."""
        if self._mode == "off":
            return list(decoded)
        return [ready for picture in decoded for ready in self._pass(picture)]

    def flush(self) -> list[VideoFrame]:
        """Return the last pictures. It can be reused afterwards."""
        graph, self._graph = self._graph, None
        if graph is None:
            return []
        graph.push(None)
        return list(_pull(graph))

    def _pass(self, picture: VideoFrame) -> Iterator[VideoFrame]:
        if self._graph is None and self._mode == "auto" and not picture.interlaced_frame:
            yield picture
            return
        layout = (picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range)
        if layout != self._layout:
            yield from self.flush()
        if self._graph is None:
            self._graph, self._layout = _graph(picture, _PICTURES[self._mode]), layout
        self._graph.push(picture)
        yield from _pull(self._graph)


def _graph(picture: VideoFrame, pictures: str) -> Graph:
    graph = Graph()
    source: Any = graph.add(
        "buffer",
        video_size=f"{picture.width}x{picture.height}",
        pix_fmt=picture.format.name,
        time_base=str(picture.time_base or 1),
        colorspace=str(int(picture.colorspace)),
        range=str(int(picture.color_range)),
    )
    graph.link_nodes(source, graph.add("bwdif", f"mode=send_frame:deint={pictures}"), graph.add("buffersink"))
    graph.configure()
    return graph


def _pull(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            picture = graph.pull()
        except (BlockingIOError, av.error.EOFError):
            return
        assert isinstance(picture, VideoFrame)
        yield picture
