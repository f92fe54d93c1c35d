from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamseg.frame import FrameFormat, FrameStamps
from streamseg.ring.layout import (
    FREE,
    HELD,
    MATRICES,
    MAX_SLOTS,
    META_BYTES,
    PIXEL_FORMATS,
    ROLES,
    STAMP_SOURCES,
    Control,
    SlotEntry,
    control_bytes,
    pack_meta,
    role_bit,
    unpack_meta,
)

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
u8 = st.integers(0, 255)
entries = st.builds(SlotEntry, st.integers(0, 3), u8, u8, u64, st.integers(0, 2**32 - 1))
controls = st.builds(
    Control,
    u64,
    u64,
    u64,
    u64,
    u64,
    st.lists(u8, min_size=len(ROLES), max_size=len(ROLES)),
    st.lists(entries, max_size=MAX_SLOTS),
)


@settings(deadline=None)
@given(controls)
def test_control_survives_packing(control: Control) -> None:
    data = control.pack()
    assert len(data) == control_bytes(len(control.slots))
    assert Control.unpack(data) == control


@settings(deadline=None)
@given(controls, controls, st.data())
def test_a_mixture_of_two_controls_is_noticed(one: Control, two: Control, data: st.DataObject) -> None:
    two = replace(two, slots=(two.slots + [SlotEntry() for _ in one.slots])[: len(one.slots)])
    cut = data.draw(st.integers(0, control_bytes(len(one.slots))))
    mixed = two.pack()[:cut] + one.pack()[cut:]
    if mixed not in (one.pack(), two.pack()):
        assert Control.unpack(mixed) is None


@settings(deadline=None)
@given(
    st.builds(
        FrameFormat,
        st.integers(1, 2**32 - 1),
        st.integers(1, 2**32 - 1),
        st.sampled_from(PIXEL_FORMATS),
        st.sampled_from(MATRICES),
        st.booleans(),
        st.tuples(u32, u32),
    ),
    st.builds(FrameStamps, i64, st.sampled_from(STAMP_SOURCES), i64, i64, st.none() | i64, st.tuples(u32, u32)),
)
def test_meta_survives_packing(frame_format: FrameFormat, stamps: FrameStamps) -> None:
    data = pack_meta(frame_format, stamps)
    assert len(data) == META_BYTES
    assert unpack_meta(data) == (frame_format, stamps)


@pytest.mark.parametrize(
    ("holders", "offered", "dropped", "free"),
    [(1, 0, 1, True), (1, 2, 1, False), (3, 0, 1, False), (0, 2, 2, True), (2, 0, 1, False)],
)
def test_a_slot_is_free_when_the_last_role_releases_it(holders: int, offered: int, dropped: int, free: bool) -> None:
    entry = SlotEntry(HELD, holders, offered)
    assert entry.drop(dropped) is free
    assert (entry.state == FREE) is free


def test_roles_have_a_bit_each() -> None:
    assert role_bit("worker") & role_bit("publisher") == 0
