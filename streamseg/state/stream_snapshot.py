"""A snapshot of one stream as bytes: prompts, labels and states of its objects, and the tracker's memory of them.

A numpy archive without pickled objects: one array holds a msgpack head, the others are the memory. The archive has a
checksum of each member; a truncated or changed snapshot is refused.
"""

from __future__ import annotations

import io
import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamseg.errors import StateError
from streamseg.ipc.saved_prompts import FindRequest, SavedObject, SavedPrompt, SavedStream
from streamseg.protocol.arguments import Coords, Rle
from streamseg.protocol.published import ObjectState, Origin
from streamseg.protocol.text import encode_valid

log = logging.getLogger(__name__)

VERSION: Final = 2
MAX_BYTES: Final = 512 * 1024 * 1024
"""Maximum size of a snapshot."""

_HEAD: Final = "head"


class _Prompt(msgspec.Struct, frozen=True):
    points: tuple[tuple[float, float, float], ...]
    box: tuple[float, float, float, float] | None
    rle: Rle | None
    file: bytes | None  # a path may hold bytes that are not UTF-8
    coords: Coords
    restarts: bool
    candidate: int | None


class _Object(msgspec.Struct, frozen=True):
    obj_id: int
    label: str
    prompts: tuple[_Prompt, ...]
    origin: Origin = "user"


class SavedObjects(msgspec.Struct, frozen=True):
    """:class:`~streamseg.ipc.saved_prompts.SavedStream` as stored.

    Omits the last masks, which are only for the next worker of the same daemon.
    """

    objects: tuple[_Object, ...]
    next_id: int
    paused: bool
    find: dict[str, Any] | None = None

    @classmethod
    def of(cls, saved: SavedStream) -> SavedObjects:
        """Convert a stream's objects."""
        objects = tuple(
            _Object(obj.obj_id, obj.label, tuple(map(_stored, obj.prompts)), obj.origin) for obj in saved.objects
        )
        return cls(objects, saved.next_id, saved.paused, _stored_find(saved.find))

    def stream(self) -> SavedStream:
        """Return the stream's objects."""
        objects = tuple(
            SavedObject(obj.obj_id, obj.label, tuple(map(_loaded, obj.prompts)), origin=obj.origin)
            for obj in self.objects
        )
        return SavedStream(objects, self.next_id, self.paused, find=_loaded_find(self.find))


class Sighting(msgspec.Struct, frozen=True):
    """An object's last sighting.

    Attributes:
        state: Its state.
        unseen_ns: Stream time since it was last seen.
    """

    state: ObjectState
    unseen_ns: int


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    memory_format: str
    session: str
    source: str
    epoch: int
    frame_id: int
    t_wall_ns: int
    saved: SavedObjects
    sightings: dict[int, Sighting]
    frame: int
    aside: dict[int, int] = {}


@dataclass(frozen=True, slots=True, eq=False)
class StreamSnapshot:
    """The state of a stream's objects after one frame.

    Attributes:
        memory_format: Format of the tracker's memory.
        session: Id of the daemon's run: frame ids and epochs of another run are not comparable.
        source: Digest of the source's address.
        epoch: Epoch of the frame.
        frame_id: Id of the frame.
        t_wall_ns: When the snapshot was taken.
        saved: Objects, prompts, labels.
        sightings: Object id -> when it was last seen.
        frame: The tracker's count of the stream's frames.
        memory: Object id -> the tracker's memory of it, as named arrays.
        aside: Ids of the objects that were suspended -> the tracker's count of the stream's frames at that time.
    """

    memory_format: str
    session: str
    source: str
    epoch: int
    frame_id: int
    t_wall_ns: int
    saved: SavedStream
    sightings: Mapping[int, Sighting]
    frame: int
    memory: Mapping[int, Mapping[str, NDArray[Any]]]
    aside: Mapping[int, int] = field(default_factory=dict)


def encode_snapshot(snapshot: StreamSnapshot) -> bytes:
    """Return a snapshot as bytes."""
    head = _Head(
        version=VERSION,
        memory_format=snapshot.memory_format,
        session=snapshot.session,
        source=snapshot.source,
        epoch=snapshot.epoch,
        frame_id=snapshot.frame_id,
        t_wall_ns=snapshot.t_wall_ns,
        saved=SavedObjects.of(snapshot.saved),
        sightings=dict(snapshot.sightings),
        frame=snapshot.frame,
        aside=dict(snapshot.aside),
    )
    arrays: dict[str, NDArray[Any]] = {_HEAD: np.frombuffer(encode_valid(msgspec.msgpack.encode, head), np.uint8)}
    for obj_id, memory in snapshot.memory.items():
        arrays.update({f"{obj_id}/{name}": array for name, array in memory.items()})
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def decode_snapshot(data: bytes) -> StreamSnapshot:
    """Read a snapshot.

    Raises:
        StateError: It is truncated or changed, or has another version.
    """
    if len(data) > MAX_BYTES:
        raise StateError(f"it has {len(data)} bytes, the limit is {MAX_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(member.file_size > MAX_BYTES or member.compress_type for member in archive.infolist()):
                raise StateError("it is damaged: a member of it is too large or compressed")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            head = msgspec.msgpack.decode(archive[_HEAD].tobytes(), type=_Head)
            memory: dict[int, dict[str, NDArray[Any]]] = {}
            for name in archive.files:
                if name != _HEAD:
                    obj_id, _, field = name.partition("/")
                    memory.setdefault(int(obj_id), {})[field] = archive[name]
    except StateError:
        raise
    except Exception as error:  # noqa: BLE001 - numpy, zipfile and msgspec raise many kinds for damaged bytes
        raise StateError(f"it is damaged: {type(error).__name__}: {error}") from None
    if head.version != VERSION:
        raise StateError(f"it is of version {head.version}, this streamseg reads version {VERSION}")
    return StreamSnapshot(
        memory_format=head.memory_format,
        session=head.session,
        source=head.source,
        epoch=head.epoch,
        frame_id=head.frame_id,
        t_wall_ns=head.t_wall_ns,
        saved=head.saved.stream(),
        sightings=head.sightings,
        frame=head.frame,
        memory=memory,
        aside=head.aside,
    )


def _stored(prompt: SavedPrompt) -> _Prompt:
    mask = prompt.mask
    return _Prompt(
        prompt.points,
        prompt.box,
        rle=mask if isinstance(mask, Rle) else None,
        file=os.fsencode(mask) if isinstance(mask, Path) else None,
        coords=prompt.coords,
        restarts=prompt.restarts,
        candidate=prompt.candidate,
    )


def _loaded(prompt: _Prompt) -> SavedPrompt:
    mask = prompt.rle if prompt.file is None else Path(os.fsdecode(prompt.file))
    return SavedPrompt(prompt.points, prompt.box, mask, prompt.coords, prompt.restarts, prompt.candidate)


def _stored_find(find: FindRequest | None) -> dict[str, Any] | None:
    return None if find is None else dict(msgspec.to_builtins(find))


def _loaded_find(find: dict[str, Any] | None) -> FindRequest | None:
    """Return a client's settings for finding objects; None if a newer streamseg wrote unknown settings."""
    try:
        return msgspec.convert(find, FindRequest | None)
    except msgspec.ValidationError as error:
        log.warning("a request to find objects is dropped, the configured settings apply: %s", error)
        return None
