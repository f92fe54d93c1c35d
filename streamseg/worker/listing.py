"""Results of requests about the worker's streams: lists of objects, and snapshots with masks."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streamseg.protocol.results import (
    MaskedEntry,
    ObjectEntry,
    SnapshotResult,
    StreamEntry,
)
from streamseg.protocol.scores import presence_of, score_of
from streamseg.protocol.topics import topic
from streamseg.sources.address import shown_address
from streamseg.worker.prompts import full_rle
from streamseg.worker.stream_objects import Latest
from streamseg.worker.tracked_stream import TrackedStream


def stream_snapshot(stream: TrackedStream, latest: Latest) -> SnapshotResult:
    """Return a stream's objects on its newest frame, with their masks."""
    return SnapshotResult(
        stream=stream.name,
        frame=latest.frame_id,
        epoch=latest.epoch,
        size=latest.size,
        t_wall_ns=str(latest.t_wall_ns),
        image_topic=topic(stream.name, "image").decode(),
        objects=tuple(
            MaskedEntry(
                **msgspec.structs.asdict(entry),
                rle=full_rle(latest.results[entry.id]) if latest.results[entry.id].area else None,
            )
            for entry in _object_entries(stream)
            if entry.id in latest.results
        ),
    )


def stream_entry(stream: TrackedStream) -> StreamEntry:
    """Return a stream with its objects, without masks."""
    latest = stream.latest
    return StreamEntry(
        stream=stream.name,
        source=shown_address(stream.config.source),
        paused=stream.paused,
        frame=latest.frame_id if latest else None,
        size=latest.size if latest else (0, 0),
        objects=tuple(_object_entries(stream)),
        finding=stream.finder.config.enabled,
    )


def _object_entries(stream: TrackedStream) -> Iterator[ObjectEntry]:
    latest = stream.latest
    for obj in stream.objects.table.objects.values():
        result = latest.results.get(obj.obj_id) if latest else None
        if latest is None or result is None:
            yield ObjectEntry(
                id=obj.obj_id,
                label=obj.label,
                state="waiting",
                score=0.0,
                presence=0.0,
                bbox=(0, 0, 0, 0),
                area=0,
                prompts=len(obj.prompts),
                origin=obj.origin,
            )
            continue
        yield ObjectEntry(
            id=obj.obj_id,
            label=obj.label,
            state=latest.states.get(obj.obj_id, "tracked"),
            prompts=len(obj.prompts),
            bbox=result.roi,
            area=result.area,
            score=score_of(result.iou_prediction),
            presence=presence_of(result.object_score_logits),
            origin=obj.origin,
        )
