"""Snapshots as bytes: they are read back unchanged, and anything else is rejected."""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest

from streamseg.config.schema import AreaConfig, FindConfig
from streamseg.errors import StateError
from streamseg.ipc.saved_prompts import FindRequest, SavedObject, SavedPrompt, SavedStream
from streamseg.protocol.arguments import Rle
from streamseg.protocol.published import Origin
from streamseg.state import stream_snapshot
from streamseg.state.stream_snapshot import SavedObjects, Sighting, StreamSnapshot, decode_snapshot, encode_snapshot

SAVED = SavedStream(
    (
        SavedObject(
            3,
            "cup",
            (SavedPrompt(points=((0.5, 0.25, 1.0),), candidate=2), SavedPrompt(box=(1, 2, 3, 4), coords="pixels")),
        ),
        SavedObject(
            9,
            "",
            (
                SavedPrompt(mask=Path(os.fsdecode(b"/caf\xe9/mask.png"))),
                SavedPrompt(mask=Rle((4, 5), "abc"), restarts=True),
            ),
        ),
    ),
    next_id=10,
    paused=True,
)
SNAPSHOT = StreamSnapshot(
    memory_format="sam2-1 abc",
    session="1a2b",
    source="digest",
    epoch=2,
    frame_id=77,
    t_wall_ns=1_700_000_000_000_000_000,
    saved=SAVED,
    sightings={3: Sighting("tracked", 0), 9: Sighting("lost", 5_000_000_000)},
    frame=70,
    memory={3: {"features": np.arange(12, dtype=np.int16).reshape(3, 4), "frames": np.array([1, -(1 << 40)])}},
)


def test_what_is_written_is_read() -> None:
    read = decode_snapshot(encode_snapshot(SNAPSHOT))
    assert replace(read, memory={}).saved == SAVED
    for field in ("memory_format", "session", "source", "epoch", "frame_id", "t_wall_ns", "sightings", "frame"):
        assert getattr(read, field) == getattr(SNAPSHOT, field)
    assert [*read.memory] == [3]
    for name, array in SNAPSHOT.memory[3].items():
        assert np.array_equal(read.memory[3][name], array)
        assert read.memory[3][name].dtype == array.dtype


@pytest.mark.parametrize("origin", get_args(Origin))
def test_the_origin_of_objects_and_the_search_are_read(origin: Origin) -> None:
    objects = tuple(replace(obj, origin=origin) for obj in SAVED.objects)
    area = AreaConfig(polygon=((0, 0), (0.5, 0), (0.5, 1)), coords="normalized")
    find = FindRequest(FindConfig(enabled=False), FindConfig(every_s=1.5, region=(area,)))
    saved = replace(SAVED, objects=objects, find=find)
    assert decode_snapshot(encode_snapshot(replace(SNAPSHOT, saved=saved))).saved == saved


def test_a_find_request_with_settings_of_a_newer_version_drops_that_request_alone() -> None:
    find = FindRequest(FindConfig(enabled=False), FindConfig(every_s=1.5))
    stored = SavedObjects.of(replace(SAVED, find=find))
    assert stored.find is not None
    stored.find["requested"]["patience"] = 3
    data = msgspec.msgpack.encode(stored)
    assert msgspec.msgpack.decode(data, type=SavedObjects).stream() == SAVED


def test_last_masks_are_not_stored() -> None:
    masked = replace(SAVED, objects=tuple(replace(obj, last_mask=Rle((4, 5), "abc")) for obj in SAVED.objects))
    assert SavedObjects.of(masked).stream() == SAVED


def test_every_truncation_and_every_changed_byte_of_the_head_is_refused() -> None:
    data = encode_snapshot(SNAPSHOT)
    for end in range(0, len(data), 7):
        with pytest.raises(StateError, match="damaged"):
            decode_snapshot(data[:end])
    place = data.index(b"sam2-1 abc")
    for offset in range(-20, 60, 7):
        with pytest.raises(StateError, match="damaged"):
            decode_snapshot(changed_at(data, place + offset))


def changed_at(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 0x10
    return bytes(changed)


def test_every_changed_byte_of_an_array_costs_that_object_alone() -> None:
    other = {"features": np.full((3, 4), 7, np.int16)}
    data = encode_snapshot(replace(SNAPSHOT, memory={**SNAPSHOT.memory, 9: other}))
    place = data.index(np.arange(12, dtype=np.int16).tobytes())
    for offset in range(-128, 24):  # the array's own header has 128 bytes
        read = decode_snapshot(changed_at(data, place + offset))
        assert [*read.memory] == [9]
        assert np.array_equal(read.memory[9]["features"], other["features"])
        assert [*read.damaged] == [3]
        assert "it is damaged" in read.damaged[3]
        assert read.saved == SAVED


def test_an_array_whose_header_asks_for_less_is_damaged() -> None:
    large = np.zeros((900, 64), np.int16)  # more than zipfile reads at once
    data = encode_snapshot(replace(SNAPSHOT, memory={3: {"features": large}}))
    read = decode_snapshot(data.replace(b"'shape': (900, 64)", b"'shape': (100, 64)"))
    assert (read.memory, [*read.damaged]) == ({}, [3])


def test_random_damage_never_raises_anything_else() -> None:
    data, rng = encode_snapshot(SNAPSHOT), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            changed[place] = int(rng.integers(0, 256))
        try:
            decode_snapshot(bytes(changed))
        except StateError:
            continue


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_snapshot(SNAPSHOT)
    monkeypatch.setattr(stream_snapshot, "VERSION", 3)
    with pytest.raises(StateError, match="version 2, this streamseg reads version 3"):
        decode_snapshot(data)


def test_pickles_are_not_read() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, head=np.array([{"a": 1}], dtype=object))
    for data in (buffer.getvalue(), pickle.dumps(SNAPSHOT.saved)):
        with pytest.raises(StateError, match="damaged"):
            decode_snapshot(data)
