"""Zones, lines and polygons in the whole daemon, held against a scene's exact truth."""

from __future__ import annotations

import numpy as np

from streamseg.client import EventMessage, MaskFrame, StatusMessage, Subscriber
from streamseg.config.schema import LineConfig, ZoneConfig
from streamseg.sources.scene.source import Scene
from streamseg.tracker.types import ObjectResult
from streamseg.worker.zones import LineCrossed, RegionMonitor, ZoneEntered

SCENE = "scene:simple?size=320x180&fps=10&objects=2"
FRAMES = 160
ZONE = {"polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "coords": "normalized"}
LINE = {"start": [0.5, 1], "end": [0.5, 0], "coords": "normalized"}


def true_events(scene: Scene) -> list[tuple[str, int, int]]:
    """Kind, object and frame of everything that happens, from exact masks."""
    zone = ZoneConfig(polygon=tuple(map(tuple, ZONE["polygon"])), coords="normalized")
    line = LineConfig(start=tuple(LINE["start"]), end=tuple(LINE["end"]), coords="normalized")
    monitor = RegionMonitor({"left": zone}, {"middle": line})
    found = []
    for number in range(FRAMES):
        for obj_id, mask in scene.truth(number).items():
            if not mask.any():
                continue
            rows, columns = np.nonzero(mask)
            x, y, w, h = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            centroid = float(columns.mean()), float(rows.mean())
            crop = mask[y : y + h, x : x + w]
            result = ObjectResult(obj_id, mask.shape[::-1], (x, y, w, h), crop, crop.sum(), centroid, 1.0, 9.0)
            for event in monitor.update(result, number):
                match event:
                    case ZoneEntered():
                        found.append(("zone_entered", obj_id, number))
                    case LineCrossed(direction=direction):
                        found.append((f"line_crossed {direction}", obj_id, number))
                    case _:
                        found.append(("zone_left", obj_id, number))
    return found


def test_events_and_counts_match_the_truth_and_masks_come_as_polygons(daemon):
    scene = Scene(SCENE)
    masks = {obj_id: mask for obj_id, mask in scene.truth(0).items() if mask.any()}
    points = {obj_id: np.argwhere(mask).mean(0)[::-1] for obj_id, mask in masks.items()}
    expected = [event for event in true_events(scene) if event[1] in masks]
    assert len({kind for kind, *_ in expected}) >= 3, "the scene shows too little"
    stream = {
        "source": f"{SCENE}&frames={FRAMES}&live=0",
        "zones": {"left": ZONE},
        "lines": {"middle": LINE},
        "prompts": [{"object": obj_id, "points": [[*map(float, point)]]} for obj_id, point in points.items()],
    }
    running = daemon(
        {
            "model": {"name": "color"},
            "publish": {"encoding": "polygons", "wait_for_subscriber": True},
            "streams": {"cam": stream},
        }
    )
    seen, ious, counted = [], [], None
    with Subscriber(running.endpoint, mode="all", kinds=("masks", "events", "status")) as subscriber:
        for message in subscriber:
            match message:
                case MaskFrame():
                    truth = scene.truth(message.pts)
                    ious += [
                        (obj.mask & truth[obj.id]).sum() / (obj.mask | truth[obj.id]).sum()
                        for obj in message.objects
                        if obj.encoding == "polygons" and truth[obj.id].sum() > 400
                    ]
                case EventMessage(region=region) if region is not None:
                    kind = message.event if region.direction is None else f"{message.event} {region.direction}"
                    seen.append((kind, message.object, message.frame))
                    assert region.name in message.detail
                case StatusMessage() if message.regions is not None:
                    counted = message.regions
                case EventMessage(event="stream_ended"):
                    break
    assert len(ious) > 100
    assert np.median(ious) > 0.8
    assert [event[:2] for event in seen] == [event[:2] for event in expected]
    assert all(abs(one[2] - other[2]) <= 3 for one, other in zip(seen, expected, strict=True))
    assert counted is not None
    assert set(counted.inside) == set(counted.entered) == {"left"}
    assert set(counted.forward) == {"middle"}
