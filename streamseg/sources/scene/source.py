"""The generated scene: pictures of moving objects together with their exact masks (the truth).

Frame ``n`` depends only on the scene's spec and ``n``, not on earlier calls. All drawing uses integer arithmetic, so
every machine produces the same bytes.

"Exact" means: every pixel belongs to at most one object, the topmost one that covers at least half of it. Edges are
smoothed toward the background inside the outline only, and never toward another object; so changing the color of an
object would change the pixels of its mask and no others. A shadow belongs to no object. The frame code, if drawn,
covers what is below it.
"""

from __future__ import annotations

import time

import cv2
import numpy as np
from numpy.typing import NDArray

from streamseg.errors import EndOfStreamError, SourceError
from streamseg.frame import FrameFormat, FrameStamps, Plane, SourceFrame
from streamseg.sources.base import Pace, SourceInfo
from streamseg.sources.pacer import Pacer
from streamseg.sources.scene.background import Background
from streamseg.sources.scene.cast import cast
from streamseg.sources.scene.code import code_rectangle, draw_frame_code, read_frame_code
from streamseg.sources.scene.spec import SceneSpec
from streamseg.sources.scene.sprite import Sprite, Stamp, lay_over, lay_under, own
from streamseg.sources.scene.texture import Picture

__all__ = ["Scene", "SceneSource", "SceneSpec", "read_frame_code"]

BoolMask = NDArray[np.bool_]


class Scene:
    """Pictures and truth of a generated scene. Used by one thread.

    Args:
        spec: What to show, as a spec or an address.

    Attributes:
        spec: The scene's spec.
        names: Object id -> its name, from the lowest object to the topmost; ids start at 1.

    Raises:
        ConfigError: the address is invalid.
    """

    def __init__(self, spec: SceneSpec | str) -> None:
        self.spec = SceneSpec.parse(spec) if isinstance(spec, str) else spec
        self._actors = cast(self.spec)
        self.names = {obj_id: actor.name for obj_id, actor in enumerate(self._actors, 1)}
        self._sprites = [Sprite(actor, self.spec.height) for actor in self._actors]
        self._background = Background(self.spec)
        self._cached: dict[int, Picture] = {}
        self._owners: tuple[int, Picture] | None = None

    def render(self, n: int, out: Picture | None = None) -> Picture:
        """Return frame ``n``.

        Args:
            n: Frame number, from 0.
            out: Array to draw into; a new one if None.

        Returns:
            ``uint8 [H, W, 3]``, RGB.
        """
        if out is None:
            out = np.empty((self.spec.height, self.spec.width, 3), dtype=np.uint8)
        shown = self._shown(n)
        if self.spec.cache:
            if shown not in self._cached:
                self._cached[shown] = np.empty_like(out)
                self._draw(shown, self._cached[shown])
            np.copyto(out, self._cached[shown])
        else:
            self._draw(shown, out)
        if self.spec.code:
            draw_frame_code(out, n)
        return out

    def truth(self, n: int) -> dict[int, BoolMask]:
        """Return the mask of each object in frame ``n``.

        Returns:
            Object id -> ``bool [H, W]``; all False for an object that is not visible.
        """
        owners = self._owners_of(n)
        return {obj_id: owners == obj_id for obj_id in self.names}

    def truth_box(self, n: int, obj_id: int) -> tuple[int, int, int, int]:
        """Return x, y, w, h in pixels of an object's visible part, zeros if it is not visible.

        Raises:
            KeyError: there is no such object.
        """
        mask = self._mask(n, obj_id)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return (0, 0, 0, 0)
        x, y = int(columns[0]), int(rows[0])
        return (x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)

    def visible(self, n: int) -> tuple[int, ...]:
        """Return the ids of the objects with at least one pixel in frame ``n``."""
        return tuple(int(owner) for owner in np.unique(self._owners_of(n)) if owner)

    def click_point(self, n: int, obj_id: int) -> tuple[int, int] | None:
        """Return x, y of the pixel deepest inside an object's visible part; None if it is not visible.

        Raises:
            KeyError: there is no such object.
        """
        mask = self._mask(n, obj_id)
        if not mask.any():
            return None
        # The border makes the picture's edge count as the object's edge.
        bordered = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        depth = cv2.distanceTransform(bordered, cv2.DIST_L1, 3, dstType=cv2.CV_8U)[1:-1, 1:-1]
        row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
        return int(column), int(row)

    def _mask(self, n: int, obj_id: int) -> BoolMask:
        if obj_id not in self.names:
            raise KeyError(f"{self.spec.address} has no object {obj_id}: it has objects 1 to {len(self.names)}")
        return np.asarray(self._owners_of(n) == obj_id)

    def _shown(self, n: int) -> int:
        """The frame shown as frame ``n``; with a cache, its frames forward and backward."""
        if not self.spec.cache:
            return n
        last = self.spec.cache - 1
        return last - abs(last - n % (2 * last)) if last else 0

    def _turns(self, n: int, period_ms: int) -> float:
        """Elapsed fraction of a period at frame ``n``; exact for any ``n``, so there is no drift after months."""
        fps = self.spec.fps
        whole = period_ms * fps.numerator
        return (n * 1000 * fps.denominator % whole) / whole

    def _stamps(self, shown: int) -> list[Stamp]:
        width, height = self.spec.width, self.spec.height
        return [
            sprite.place(actor.pose(lambda period_ms: self._turns(shown, period_ms), width, height))
            for actor, sprite in zip(self._actors, self._sprites, strict=True)
        ]

    def _owners_of(self, n: int) -> Picture:
        """``uint8 [H, W]``: id of the object at each pixel of frame ``n``, 0 for none."""
        if self._owners is None or self._owners[0] != n:
            owners = np.zeros((self.spec.height, self.spec.width), dtype=np.uint8)
            for obj_id, (sprite, stamp) in enumerate(zip(self._sprites, self._stamps(self._shown(n)), strict=True), 1):
                own(sprite, stamp, obj_id, owners)
            if self.spec.code:
                code_w, code_h = code_rectangle(self.spec.width, self.spec.height)
                owners[:code_h, :code_w] = 0
            self._owners = (n, owners)
        return self._owners[1]

    def _draw(self, shown: int, out: Picture) -> None:
        self._background.draw(lambda period_ms: self._turns(shown, period_ms), out)
        taken = np.zeros(out.shape[:2], dtype=np.bool_)
        for place, (sprite, stamp) in enumerate(zip(self._sprites, self._stamps(shown), strict=True)):
            # The higher an object is, the farther away its shadow falls.
            lay_under(sprite, stamp, round((5 + 2 * place) * self.spec.height / 360.0), out)
            lay_over(sprite, stamp, out, taken)


class SceneSource:
    """A generated scene as a video source. Its ``pts`` is the frame number, its time base one frame.

    So any consumer can compute the true masks of a received frame: ``Scene(address).truth(header.pts)``.

    A live scene behaves like a camera: frame ``n`` is due ``n / fps`` seconds after :meth:`open`, and a late reader
    gets the newest frame that is due. :attr:`skipped` counts the frames in between; they are not drops. Due times are
    computed from the start, so there is no drift. A scene with ``live=0`` behaves like a file: every frame is
    delivered, at its own rate or as fast as it is read.

    Args:
        address: ``scene:NAME?key=value&...``.
        pace: With ``live=0``: at the scene's own rate (``camera``: without ever falling behind), or as fast as it is
            read.
        loop: With ``frames``: start over at frame 0 after the last one.

    Raises:
        ConfigError: the address is invalid.
    """

    def __init__(self, address: str, *, pace: Pace = "live", loop: bool = False) -> None:
        self.spec = SceneSpec.parse(address)
        self._pace = pace
        self._loop = loop
        self._scene: Scene | None = None
        self._image = np.empty((0, 0, 3), dtype=np.uint8)
        self._format = FrameFormat(self.spec.width, self.spec.height, self.spec.format)
        self._started_ns = 0
        self._pacer: Pacer | None = None
        self._due = 0
        self._skipped = 0

    def open(self) -> SourceInfo:
        """Paint the scene's objects and the frames of its cache, then start its clock.

        Blocks: a few tenths of a second; with a cache, until it is rendered.
        """
        scene = self._scene = Scene(self.spec)
        self._image = np.empty((self.spec.height, self.spec.width, 3), dtype=np.uint8)
        for n in range(self.spec.cache):
            scene.render(n, self._image)
        self._due = 0
        self._started_ns = time.monotonic_ns()
        paced = self._pace != "fast"
        self._pacer = Pacer(float(1 / self.spec.fps), catch_up=self._pace == "camera") if paced else None
        return SourceInfo(
            kind="scene",
            live=self.spec.live,
            width=self.spec.width,
            height=self.spec.height,
            frame_rate=float(self.spec.fps),
            codec="generated",
            frames=self.spec.frames,
        )

    def read(self) -> SourceFrame:
        """Return the next frame.

        Blocks: until it is due, at most one second.

        Raises:
            EndOfStreamError: the scene has ``frames``, and all were read or, if live, are past.
            SourceError: the source is not open.
        """
        if self._scene is None:
            raise SourceError(f"{self.spec.address} is not open: call open() first")
        spec = self.spec
        if spec.live:
            self._wait_live()
        elif self._pacer is not None:
            self._pacer.wait(float(self._due / spec.fps))
        n = self._due
        if spec.frames is not None:
            if n >= spec.frames and not self._loop:
                raise EndOfStreamError(f"{spec.address}: end after {spec.frames} frames")
            n %= spec.frames
        self._due += 1
        captured_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        self._scene.render(n, self._image)
        planes = self._planes()
        stamps = FrameStamps(
            t_wall_ns=wall_ns,
            t_source="arrival" if spec.live else "file",
            t_captured_ns=captured_ns,
            t_decoded_ns=time.monotonic_ns(),
            pts=n,
            time_base=(spec.fps.denominator, spec.fps.numerator),
        )
        return SourceFrame(self._format, planes, stamps)

    def close(self) -> None:
        """Free the scene's pictures."""
        self._scene = None
        self._image = np.empty((0, 0, 3), dtype=np.uint8)

    @property
    def corrupt(self) -> int:
        """Always 0: nothing is decoded."""
        return 0

    @property
    def skipped(self) -> int:
        """Frames of a live scene since construction that were not read in time; their ``pts`` is missing downstream."""
        return self._skipped

    def _wait_live(self) -> None:
        """Wait until the next frame is due; if that time has passed, go to the newest frame that is due."""
        fps = self.spec.fps
        now_ns = time.monotonic_ns() - self._started_ns
        newest = now_ns * fps.numerator // (fps.denominator * 1_000_000_000)
        if newest < self._due:
            due_ns = self._due * fps.denominator * 1_000_000_000 // fps.numerator
            time.sleep(max(0, due_ns - now_ns) / 1e9)
        else:
            self._skipped += newest - self._due
            self._due = newest

    def _planes(self) -> tuple[Plane, ...]:
        width, height = self.spec.width, self.spec.height
        if self.spec.format == "rgb24":
            return (self._image.reshape(height, 3 * width),)
        # OpenCV's I420: BT.601, limited range; chroma from the upper left pixel of each 2x2 block.
        packed = np.asarray(cv2.cvtColor(self._image, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8).reshape(-1)
        luma, quarter = width * height, (width // 2) * (height // 2)
        return (
            packed[:luma].reshape(height, width),
            packed[luma : luma + quarter].reshape(height // 2, width // 2),
            packed[luma + quarter :].reshape(height // 2, width // 2),
        )
