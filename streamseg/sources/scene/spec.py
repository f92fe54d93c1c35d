"""The address of a generated scene, ``scene:NAME?key=value&...``, and the meaning of each key."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Final, Literal, cast, get_args

from streamseg.errors import ConfigError

Preset = Literal["default", "leave", "crossing", "simple", "visit"]
SceneFormat = Literal["rgb24", "yuv420p"]

DEFAULT_OBJECTS: Final[dict[Preset, int]] = {"default": 3, "leave": 2, "crossing": 2, "simple": 3, "visit": 4}
PLAIN_PRESETS: Final[tuple[Preset, ...]] = ("simple", "visit")
"""Presets of shapes in plain colors on a plain ground."""

MAX_OBJECTS: Final = 8
MIN_SIZE: Final = (96, 64)
MAX_SIZE: Final = (3840, 2160)
_MAX_ADDRESS: Final = 1000
MAX_CACHE_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """All parameters of a scene's pictures and their delivery.

    Attributes:
        preset: ``default`` (a pond: fish below, leaves above, always in view), ``leave`` (object 1 leaves the
            picture and returns, every 8 s), ``crossing`` (two look-alikes that pass over each other), ``simple``
            (slow shapes in plain colors, without shading), ``visit`` (such shapes that cross the picture one by one,
            with pauses in between).
        seed: Varies textures, colors, sizes and paths.
        width: In pixels.
        height: In pixels.
        fps: Frames per second; motion is defined in seconds, so another rate samples the same motion.
        frames: Number of frames; None: endless.
        objects: Number of objects; their ids are 1 to ``objects``, from the lowest to the topmost.
        live: Behave like a camera: time passes whether the source is read or not. Otherwise like a file.
        code: Draw the frame number into the picture (see :mod:`streamseg.sources.scene.code`).
        cache: Render this many frames once, then play them forward and backward; 0: render each frame. Saves CPU time
            in benchmarks.
        format: Pixel format of the delivered frames.
    """

    preset: Preset = "default"
    seed: int = 0
    width: int = 640
    height: int = 360
    fps: Fraction = Fraction(30)
    frames: int | None = None
    objects: int = 3
    live: bool = True
    code: bool = False
    cache: int = 0
    format: SceneFormat = "rgb24"

    def __post_init__(self) -> None:
        if self.format == "yuv420p" and (self.width % 2 or self.height % 2):
            raise ConfigError(f"scene: format=yuv420p needs an even size, not {self.width}x{self.height}")
        cache_bytes = self.cache * self.width * self.height * 3
        if cache_bytes > MAX_CACHE_BYTES:
            raise ConfigError(
                f"scene: cache={self.cache} frames of {self.width}x{self.height} would take {cache_bytes >> 20} MiB: "
                f"use at most {MAX_CACHE_BYTES // (self.width * self.height * 3)}"
            )

    @classmethod
    def parse(cls, address: str) -> SceneSpec:
        """Parse an address.

        Args:
            address: ``scene:NAME?key=value&...``; without a name, ``default``.

        Raises:
            ConfigError: the name, a key or a value is unknown or invalid.
        """
        scheme, _, rest = address.partition(":")
        if scheme.lower() != "scene":
            raise ConfigError(f"{address!r} is not a scene: write scene:NAME, for example scene:default")
        if "@" in rest or "//" in rest:  # the address of a camera, with a password perhaps: not repeated
            raise ConfigError("the address after scene: is not a scene: write scene:NAME, for example scene:default")
        if len(address) > _MAX_ADDRESS:
            raise ConfigError(f"the address of the scene has {len(address)} characters: use at most {_MAX_ADDRESS}")
        name, _, query = rest.partition("?")
        preset = name or "default"
        _refuse_unknown(preset, DEFAULT_OBJECTS, f"{address!r}: scene")
        values: dict[str, str] = {}
        for item in filter(None, query.split("&")):
            key, equals, value = item.partition("=")
            if not equals:
                raise ConfigError(f"{address!r}: {item!r} has no value: write {item}=VALUE")
            _refuse_unknown(key, _PARSERS, f"{address!r}: parameter")
            if key in values:
                raise ConfigError(f"{address!r}: duplicate parameter {key!r}")
            values[key] = value
        known_preset = cast(Preset, preset)
        spec = cls(preset=known_preset, objects=DEFAULT_OBJECTS[known_preset])
        try:
            for key, value in values.items():
                spec = _PARSERS[key](spec, value)
        except ValueError as error:
            raise ConfigError(f"{address!r}: {key}={value!r} is invalid: {error}") from None
        return spec

    @property
    def address(self) -> str:
        """The shortest address that :meth:`parse` turns into this spec."""
        plain = SceneSpec(preset=self.preset, objects=DEFAULT_OBJECTS[self.preset])
        parts = []
        if (self.width, self.height) != (plain.width, plain.height):
            parts.append(f"size={self.width}x{self.height}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("preset", "width", "height") and value != getattr(plain, field.name):
                parts.append(f"{field.name}={int(value) if isinstance(value, bool) else value}")
        return f"scene:{self.preset}" + ("?" + "&".join(parts) if parts else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar known word, or nothing."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _refuse_unknown(word: str, known: Iterable[str], what: str) -> None:
    names = list(known)
    if word not in names:
        raise ConfigError(f"{what} {word!r} is unknown{nearest(word, names)} (known: {', '.join(names)})")


def _whole(value: str, low: int, high: int) -> int:
    try:
        number = int(value)
    except ValueError:
        raise ValueError("expected a whole number") from None
    if not low <= number <= high:
        raise ValueError(f"expected {low} to {high}")
    return number


def _switch(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError("write 0 or 1")
    return value == "1"


def _size(spec: SceneSpec, value: str) -> SceneSpec:
    width, cross, height = value.partition("x")
    if not cross:
        raise ValueError("write WIDTHxHEIGHT, for example 1280x720")
    return replace(
        spec,
        width=_whole(width, MIN_SIZE[0], MAX_SIZE[0]),
        height=_whole(height, MIN_SIZE[1], MAX_SIZE[1]),
    )


def _fps(spec: SceneSpec, value: str) -> SceneSpec:
    try:
        fps = Fraction(value).limit_denominator(100_000)
    except (ValueError, ZeroDivisionError):
        raise ValueError("write a number or a fraction, for example 30 or 30000/1001") from None
    # Below one frame per second a live read would wait longer than the timeouts around it.
    if not 1 <= fps <= 240:
        raise ValueError("expected 1 to 240")
    return replace(spec, fps=fps)


def _format(spec: SceneSpec, value: str) -> SceneSpec:
    if value not in get_args(SceneFormat):
        raise ValueError(f"write one of {', '.join(get_args(SceneFormat))}")
    return replace(spec, format=value)  # type: ignore[arg-type]


_PARSERS: Final[dict[str, Callable[[SceneSpec, str], SceneSpec]]] = {
    "seed": lambda spec, value: replace(spec, seed=_whole(value, 0, 2**32 - 1)),
    "size": _size,
    "fps": _fps,
    "frames": lambda spec, value: replace(spec, frames=_whole(value, 1, 2**31 - 1)),
    "objects": lambda spec, value: replace(spec, objects=_whole(value, 1, MAX_OBJECTS)),
    "live": lambda spec, value: replace(spec, live=_switch(value)),
    "code": lambda spec, value: replace(spec, code=_switch(value)),
    "cache": lambda spec, value: replace(spec, cache=_whole(value, 0, 100_000)),
    "format": _format,
}
