"""A snapshot of one stream as bytes: prompts, labels and states of its objects, and the tracker's memory of them.

A numpy archive without pickled objects: one array holds a msgpack head, the others are the memory. The archive has a
checksum of each member. An object with a changed array comes back without memory; a snapshot that is truncated, or
whose head has changed, is refused.
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
_SUFFIX: Final = ".npy"
"""Of the archive's members, by ``numpy.savez``."""


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
        damaged: Object id -> why the memory that was stored of it is not in ``memory``. Not stored.
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
    damaged: Mapping[int, str] = field(default_factory=dict)


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
    """Read a snapshot. Objects whose memory has changed are in ``damaged``.

    Raises:
        StateError: It is truncated, its head has changed, or it has another version.
    """
    if len(data) > MAX_BYTES:
        raise StateError(f"it has {len(data)} bytes, the limit is {MAX_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(member.file_size > MAX_BYTES or member.compress_type for member in archive.infolist()):
                raise StateError("it is damaged: a member of it is too large or compressed")
            head = msgspec.msgpack.decode(_read_array(archive, _HEAD).tobytes(), type=_Head)
            memory, damaged = _read_memory(archive)
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
        damaged=damaged,
    )


def _read_memory(archive: zipfile.ZipFile) -> tuple[dict[int, dict[str, NDArray[Any]]], dict[int, str]]:
    """Return the memory of each object, and why that of others cannot be read."""
    memory: dict[int, dict[str, NDArray[Any]]] = {}
    damaged: dict[int, str] = {}
    for name in (member.removesuffix(_SUFFIX) for member in archive.namelist()):
        if name == _HEAD:
            continue
        text, _, field = name.partition("/")
        obj_id = int(text)
        try:
            memory.setdefault(obj_id, {})[field] = _read_array(archive, name)
        except Exception as error:  # noqa: BLE001 - as in decode_snapshot
            damaged[obj_id] = f"it is damaged: {type(error).__name__}: {error}"
    return {obj_id: arrays for obj_id, arrays in memory.items() if obj_id not in damaged}, damaged


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Return one array.

    ``numpy.load`` reads only what the array's own header asks for. With a changed header that may be less than the
    whole member, and the checksum is compared at its end.
    """
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(archive.read(name + _SUFFIX)), allow_pickle=False)
    return array


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
