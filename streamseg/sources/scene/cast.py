"""The objects of each preset of the generated scene, and their motion: poses as pure functions of time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from streamseg.sources.scene.objects import BALL, KOI, LILY_PAD, MAPLE_LEAF, Kind, plain_kind
from streamseg.sources.scene.spec import PLAIN_PRESETS, SceneSpec
from streamseg.sources.scene.texture import mix, uniform

Turns = Callable[[int], float]
"""Period in milliseconds -> elapsed fraction of the current turn, in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Position and orientation of an object.

    Attributes:
        x: Center, in pixels; pixel centers are at .5.
        y: Center, likewise.
        angle: Heading in radians, clockwise from the right.
        scale: Pixels per unit of the object (half its length).
        sway: Phase of its swimming stroke, in turns.
    """

    x: float
    y: float
    angle: float
    scale: float
    sway: float


@dataclass(frozen=True, slots=True)
class Actor:
    """One object of a scene: its appearance, and the ellipse that it moves on.

    Attributes:
        kind: Appearance.
        half_length: Half its length, as a fraction of the picture's height.
        center: Center of the ellipse, as a fraction of the picture's width and height.
        reach: Half axes of the ellipse, likewise.
        period_ms: Time of one round; negative: counterclockwise.
        start: Phase at time zero, in turns.
        spin_ms: Time of one rotation; negative: counterclockwise. Swimmers point where they move instead.
        swell: How much it grows and shrinks, as a fraction of its size.
        name: Name for people.
        seed: Seed of its texture.
        visits: It crosses the picture along a line instead: from the left, or to the left if ``period_ms`` is negative,
            at the height of its center. It is in the picture for a part of each period.
    """

    kind: Kind
    half_length: float
    center: tuple[float, float]
    reach: tuple[float, float]
    period_ms: int
    start: float
    spin_ms: int = 30_000
    swell: float = 0.08
    name: str = ""
    seed: int = 0
    visits: bool = False

    def pose(self, turns: Turns, width: int, height: int) -> Pose:
        """Return the object's pose at the time given by ``turns``."""
        direction = math.copysign(1.0, self.period_ms)
        theta = 2.0 * math.pi * (self.start + direction * turns(abs(self.period_ms)))
        if self.visits:
            return self._visit(turns, width, height)
        x = (self.center[0] + self.reach[0] * math.cos(theta)) * width
        y = (self.center[1] + self.reach[1] * math.sin(theta)) * height
        if self.kind.swims:
            angle = math.atan2(
                direction * self.reach[1] * height * math.cos(theta),
                -direction * self.reach[0] * width * math.sin(theta),
            )
        else:
            spin = math.copysign(turns(abs(self.spin_ms)), self.spin_ms)
            angle = 2.0 * math.pi * (spin + uniform(self.seed, 51))
        return self._at(x, y, angle, turns, height)

    def _visit(self, turns: Turns, width: int, height: int) -> Pose:
        """Return its pose on its way across the picture; between two visits it waits outside."""
        margin = 1.5 * self.half_length * height
        share = (self.start + turns(abs(self.period_ms))) % 1.0 / _VISIT
        way = min(share, 1.0) if self.period_ms > 0 else 1.0 - min(share, 1.0)
        y = (self.center[1] + self.reach[1] * math.sin(2.0 * math.pi * way)) * height
        return self._at(-margin + way * (width + 2 * margin), y, 2.0 * math.pi * way, turns, height)

    def _at(self, x: float, y: float, angle: float, turns: Turns, height: int) -> Pose:
        breath = 1.0 + self.swell * math.sin(2.0 * math.pi * turns(9_000 + self.seed % 3_000))
        return Pose(x, y, angle, self.half_length * height * breath, turns(1_100 + self.seed % 300))


# Fish first: they are below everything else, and ids rise from the lowest to the topmost object.
_LAYERS: Final = (KOI, LILY_PAD, MAPLE_LEAF, BALL)

_POND: Final = (
    Actor(KOI, 0.29, (0.50, 0.55), (0.31, 0.25), 16_000, 0.42),
    Actor(LILY_PAD, 0.25, (0.72, 0.34), (0.06, 0.07), 21_000, 0.70, spin_ms=-52_000),
    Actor(MAPLE_LEAF, 0.17, (0.36, 0.30), (0.17, 0.13), 19_000, 0.60, spin_ms=26_000, swell=0.12),
    Actor(BALL, 0.15, (0.60, 0.74), (0.22, 0.11), 17_000, 0.10, spin_ms=9_000),
    Actor(KOI, 0.23, (0.46, 0.48), (0.34, 0.32), -18_000, 0.22),
    Actor(LILY_PAD, 0.18, (0.13, 0.80), (0.05, 0.06), 23_000, 0.30, spin_ms=47_000),
    Actor(MAPLE_LEAF, 0.13, (0.84, 0.78), (0.10, 0.10), -15_000, 0.05, spin_ms=-22_000),
    Actor(BALL, 0.11, (0.16, 0.22), (0.09, 0.10), -13_000, 0.55, spin_ms=-7_000),
)

_LEAVE: Final = (
    # Past the right edge for a quarter of its round: it leaves and returns 2 s later.
    Actor(KOI, 0.29, (0.82, 0.50), (0.52, 0.28), 8_000, 0.55),
    Actor(LILY_PAD, 0.25, (0.24, 0.74), (0.05, 0.05), 21_000, 0.60, spin_ms=-52_000),
    *_POND[2:],
)

_CROSSING: Final = (
    Actor(KOI, 0.27, (0.50, 0.50), (0.32, 0.17), 12_000, 0.46),
    Actor(KOI, 0.27, (0.50, 0.50), (0.32, 0.21), -12_000, 0.08),
    *(actor for actor in _POND if actor.kind is not KOI),
    Actor(KOI, 0.20, (0.50, 0.50), (0.36, 0.34), 16_000, 0.75),
    Actor(KOI, 0.20, (0.50, 0.50), (0.36, 0.34), -16_000, 0.25),
)

PLAIN_COLORS: Final = (
    ("disc", (220, 40, 40)),
    ("square", (40, 80, 230)),
    ("triangle", (240, 200, 30)),
    ("star", (20, 160, 60)),
    ("disc", (200, 50, 210)),
    ("square", (40, 210, 220)),
    ("triangle", (250, 130, 20)),
    ("star", (110, 60, 30)),
)

_SIMPLE: Final = tuple(
    Actor(
        plain_kind(shape, color),
        0.16,
        ((0.20, 0.50, 0.80)[place % 3], (0.30, 0.72)[place // 3 % 2] if place < 6 else 0.5),
        (0.06, 0.09),
        (20_000, -17_000)[place % 2],
        0.13 * place,
        spin_ms=(25_000, -31_000)[place % 2],
        swell=0.05,
    )
    for place, (shape, color) in enumerate(PLAIN_COLORS)
)

_VISIT: Final = 0.6
"""Share of its period for which a visitor crosses the picture."""

_VISITORS: Final = tuple(
    Actor(
        plain_kind(shape, color),
        (0.15, 0.13, 0.12)[place % 3],
        (0.5, (0.19, 0.5, 0.81)[place % 3]),
        (0.0, 0.03),
        (12_000, -14_000, 17_000)[place % 3],
        0.55 - 0.21 * place,
        swell=0.0,
        visits=True,
    )
    for place, (shape, color) in enumerate(PLAIN_COLORS)
)

_CASTS: Final = {"default": _POND, "leave": _LEAVE, "crossing": _CROSSING, "simple": _SIMPLE, "visit": _VISITORS}


def cast(spec: SceneSpec) -> list[Actor]:
    """Return a scene's objects from the lowest to the topmost, varied by the seed."""
    chosen = list(_CASTS[spec.preset][: spec.objects])
    if spec.preset not in PLAIN_PRESETS:
        chosen.sort(key=lambda actor: _LAYERS.index(actor.kind))
    named: dict[str, int] = {}
    actors = []
    for place, actor in enumerate(chosen):
        count = named[actor.kind.name] = named.get(actor.kind.name, 0) + 1
        seed = mix(spec.seed, 100 + place) >> 40

        def varied(value: float, share: float, part: int, seed: int = seed) -> float:
            return value * (1.0 + share * (2.0 * uniform(seed, part) - 1.0))

        actors.append(
            replace(
                actor,
                name=actor.kind.name if count == 1 else f"{actor.kind.name} {count}",
                seed=seed,
                half_length=varied(actor.half_length, 0.08, 52),
                center=(varied(actor.center[0], 0.05, 53), varied(actor.center[1], 0.05, 54)),
                start=actor.start + 0.06 * (uniform(seed, 55) - 0.5),
                # Fixed periods, so that look-alikes keep meeting and the leaver keeps its rhythm.
                period_ms=actor.period_ms if spec.preset != "default" else round(varied(actor.period_ms, 0.1, 56)),
            )
        )
    return actors
