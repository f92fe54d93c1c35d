"""Class names of objects in exports."""

from __future__ import annotations

from streamseg.protocol.published import ObjectInfo


def class_name(obj: ObjectInfo) -> str:
    """Return an object's label; ``object`` without one."""
    return obj.label or "object"
