"""Compares two configurations, to apply the difference to a running daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from streamseg.config.schema import Config, PromptConfig, StreamConfig

_GROUPS: Final = ("model", "publish", "control", "http", "security", "state", "record", "log")
_OF_WORKER: Final = (
    *("on_discontinuity", "lost_after_s", "uncertain_below", "uncertain_after_s", "repeat_static", "overlap"),
    *("mask_cleanup", "overload", "prompts", "zones", "lines", "find", "prompters"),
)
"""Settings of a stream that do not affect its source."""


@dataclass(frozen=True, slots=True)
class StreamDifference:
    """How one stream's settings differ.

    Attributes:
        source: Whether its source must be reopened.
        removed: Ids of objects that are no longer configured.
        prompts: Prompts that are new or changed.
    """

    source: bool
    removed: tuple[int, ...]
    prompts: tuple[PromptConfig, ...]


def difference(before: StreamConfig, after: StreamConfig) -> StreamDifference | None:
    """Return how a stream's settings differ; None if they do not."""
    if before == after:
        return None
    old = {prompt.object: prompt for prompt in before.prompts}
    new = {prompt.object: prompt for prompt in after.prompts}
    source = any(
        getattr(before, field) != getattr(after, field)
        for field in StreamConfig.__struct_fields__
        if field not in _OF_WORKER
    )
    return StreamDifference(
        source,
        removed=tuple(obj_id for obj_id in old if obj_id not in new),
        prompts=tuple(prompt for obj_id, prompt in new.items() if old.get(obj_id) != prompt),
    )


def changed_settings(before: Config, after: Config) -> tuple[str, ...]:
    """Return the names of the settings that differ, except settings of streams."""
    return tuple(
        f"{group}.{field.name}"
        for group in _GROUPS
        for field in msgspec.structs.fields(type(getattr(before, group)))
        if getattr(getattr(before, group), field.name) != getattr(getattr(after, group), field.name)
    )
