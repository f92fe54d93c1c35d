from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from streamseg.errors import FrameTooLargeError, RingError, RingFullError
from streamseg.frame import FrameFormat, SourceFrame
from streamseg.ring.frame_ring import FrameRing, HeldFrame, RingReader
from streamseg.ring.layout import PIXEL_FORMATS, PROMPTER_ROLES
from tests.ring.ring_children import SMALL, is_whole, mixed_format, source_frame, stamps

MakeRing = Callable[..., FrameRing]


def must_take(reader: RingReader) -> HeldFrame:
    held = reader.take()
    assert held is not None
    return held


@pytest.mark.parametrize("size", [(64, 48), (33, 17), (1, 1)])
@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_a_frame_comes_back(make_ring: MakeRing, pixel_format: str, size: tuple[int, int]) -> None:
    ring = make_ring()
    reader, writer = ring.reader("worker"), ring.writer()
    frame_format = FrameFormat(*size, pixel_format, "bt709", full_range=True)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    planes = tuple(rng.integers(0, 256, shape, np.uint8) for shape in frame_format.plane_shapes)
    written = SourceFrame(frame_format, planes, stamps(None))
    assert writer.write(written) == 0
    with must_take(reader) as held:
        assert (held.frame.frame_id, held.frame.epoch) == (0, 0)
        assert held.frame.format == frame_format
        assert held.frame.stamps == written.stamps
        for plane, original in zip(held.frame.planes, planes, strict=True):
            assert plane.flags.c_contiguous
            np.testing.assert_array_equal(plane, original)


def test_strided_rows_are_packed(make_ring: MakeRing) -> None:
    ring = make_ring()
    reader, writer = ring.reader("worker"), ring.writer()
    padded = [
        np.random.default_rng(i).integers(0, 256, (rows, row + 32), np.uint8)
        for i, (rows, row) in enumerate(SMALL.plane_shapes)
    ]
    planes = tuple(p[:, : row[1]] for p, row in zip(padded, SMALL.plane_shapes, strict=True))
    assert not planes[0].flags.c_contiguous
    writer.write(SourceFrame(SMALL, planes, stamps()))
    with must_take(reader) as held:
        for plane, original in zip(held.frame.planes, planes, strict=True):
            np.testing.assert_array_equal(plane, original)


def test_views_cannot_be_written_to(make_ring: MakeRing) -> None:
    ring = make_ring()
    reader, writer = ring.reader("worker"), ring.writer()
    writer.write(source_frame(3))
    with must_take(reader) as held:
        with pytest.raises(ValueError, match="read-only"):
            held.frame.planes[0][0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            held.frame.planes[0].flags.writeable = True


def test_views_are_the_shared_memory(make_ring: MakeRing) -> None:
    ring = make_ring()
    reader, writer = ring.reader("worker"), ring.writer()
    writer.write(source_frame(3))
    with must_take(reader) as held:
        ring._memory.planes(held.slot, SMALL, writable=True)[0][0, 0] = 77
        assert held.frame.planes[0][0, 0] == 77


def test_size_and_format_change_from_frame_to_frame(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=3)
    reader, writer = ring.reader("worker"), ring.writer()
    for number in range(60):
        writer.write(source_frame(number, mixed_format(number)))
        with must_take(reader) as held:
            assert held.frame.format == mixed_format(number)
            assert is_whole(held.frame)


def test_policy_newest_replaces_the_waiting_frame(make_ring: MakeRing) -> None:
    ring = make_ring("newest")
    reader, writer = ring.reader("worker"), ring.writer()
    for number in range(10):
        assert writer.write(source_frame(number)) == number
        assert ring.counters().pending == 1
    with must_take(reader) as held:
        assert held.frame.frame_id == 9
        assert held.frame.stamps.pts == 9
    assert reader.take() is None
    counters = ring.counters()
    assert (counters.frames, counters.superseded, counters.no_slot, counters.pending) == (10, 9, 0, 0)


def test_policy_newest_drops_the_new_frame_when_every_slot_is_held(make_ring: MakeRing) -> None:
    ring = make_ring("newest", slots=2)
    reader, writer = ring.reader("worker"), ring.writer()
    writer.write(source_frame(0))
    first = must_take(reader)
    writer.write(source_frame(1))
    second = must_take(reader)
    assert writer.write(source_frame(2)) is None
    assert ring.counters().no_slot == 1
    assert ring.counters().held == 2
    assert is_whole(first.frame)
    assert is_whole(second.frame)
    first.release()
    assert writer.write(source_frame(3)) == 3, "a dropped frame uses up its number"


def test_policy_newest_overwrites_a_waiting_frame_when_the_others_are_held(make_ring: MakeRing) -> None:
    ring = make_ring("newest", slots=2)
    reader, writer = ring.reader("worker"), ring.writer()
    writer.write(source_frame(0))
    with must_take(reader) as held:
        for number in range(1, 5):
            assert writer.write(source_frame(number)) == number
        assert is_whole(held.frame)
    assert must_take(reader).frame.frame_id == 4
    assert ring.counters().superseded == 3


def test_every_frame_is_accounted_for(make_ring: MakeRing) -> None:
    ring = make_ring("newest", slots=3)
    reader, writer = ring.reader("worker"), ring.writer()
    rng = np.random.default_rng(5)
    holding: list[HeldFrame] = []
    delivered = 0
    for number in range(500):
        writer.write(source_frame(number, FrameFormat(16, 16, "gray8")))
        if rng.random() < 0.4 and (held := reader.take()):
            holding.append(held)
            delivered += 1
        while holding and rng.random() < 0.3:
            holding.pop(0).release()
        counters = ring.counters()
        assert counters.frames == number + 1
        assert counters.frames == delivered + counters.pending + counters.dropped
        assert counters.held == len(holding)
    assert min(ring.counters().superseded, ring.counters().no_slot, delivered) > 20
    for held in holding:
        held.release()
    assert ring.counters().held == 0


def test_policy_every_keeps_order_and_refuses_when_full(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=3)
    reader, writer = ring.reader("worker"), ring.writer()
    for number in range(3):
        writer.write(source_frame(number))
    with pytest.raises(RingFullError, match=r"within 0\.01 s.* all 3"):
        writer.write(source_frame(3), timeout_s=0.01)
    held = must_take(reader)
    with pytest.raises(RingFullError):
        writer.write(source_frame(3))
    assert ring.counters().frames == 3, "a refused frame uses up no number"
    held.release()
    assert writer.write(source_frame(3)) == 3
    ids = []
    while (held_now := reader.take()) is not None:
        with held_now:
            ids.append(held_now.frame.frame_id)
    assert ids == [1, 2, 3]
    assert ring.counters().dropped == 0


def test_the_reader_is_readable_exactly_while_a_frame_waits(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=4)
    reader, writer = ring.reader("worker"), ring.writer()
    assert not reader.wait(0)
    for number in range(3):
        writer.write(source_frame(number))
    for _ in range(3):
        assert reader.wait(0)
        must_take(reader).release()
    assert not reader.wait(0)
    assert reader.take() is None


def test_epoch_belongs_to_the_frames_written_after_it(make_ring: MakeRing) -> None:
    ring = make_ring("every")
    reader, writer = ring.reader("worker"), ring.writer()
    writer.write(source_frame(0))
    assert writer.begin_epoch() == 1
    writer.write(source_frame(1))
    assert [(h.frame.frame_id, h.frame.epoch) for h in (must_take(reader), must_take(reader))] == [(0, 0), (1, 1)]
    assert ring.counters().epoch == 1


def test_a_second_release_does_not_free_the_slot_of_another_frame(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=2)
    reader, writer = ring.reader("worker"), ring.writer()
    writer.write(source_frame(0))
    first = must_take(reader)
    first.release()
    first.release()
    writer.write(source_frame(1))
    second = must_take(reader)
    assert second.slot == first.slot
    first.release()
    assert ring.counters().held == 1
    with pytest.raises(RingError, match="frame 0 was released"):
        first.share_with("publisher")


def test_dead_prompters_cost_no_frame(make_ring: MakeRing) -> None:
    ring = make_ring("newest", slots=10)
    worker, writer = ring.reader("worker"), ring.writer()
    for number, role in enumerate(PROMPTER_ROLES):  # two die before they take the frame, two while they copy it
        prompter = ring.reader(role)
        prompter.accept(1)
        writer.write(source_frame(number))
        with must_take(worker) as held:
            assert held.share_with(role)
            assert not held.share_with(role), "it has one"
            if number % 2:
                assert prompter.adopt(held.slot, number) is not None
    counters = ring.counters()
    assert counters.held == 0, "the end of a file does not wait for them"
    for number in range(4, 40):
        writer.write(source_frame(number))
        with must_take(worker) as held:
            assert held.frame.frame_id == number
    assert ring.counters().dropped == 0
    for role in PROMPTER_ROLES:
        ring.reader(role)
    slots = ring._memory.snapshot().slots
    assert all(not (slot.holders or slot.offered) for slot in slots), "successors free what they held"


def test_sharing_is_bounded_by_what_the_other_accepts(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=4)
    worker, publisher, writer = ring.reader("worker"), ring.reader("publisher"), ring.writer()
    for number in range(4):
        writer.write(source_frame(number))
    frames = [must_take(worker) for _ in range(4)]
    assert not frames[0].share_with("publisher"), "the default is to accept none"
    publisher.accept(2)
    assert [frame.share_with("publisher") for frame in frames] == [True, True, False, False]
    for frame in frames:
        frame.release()
    assert ring.counters().held == 2
    adopted = publisher.adopt(frames[0].slot, 0)
    assert adopted is not None
    assert is_whole(adopted.frame)
    assert publisher.adopt(frames[0].slot, 0) is None, "an offer is taken up once"
    adopted.release()
    publisher.accept(0)
    still_open = publisher.adopt(frames[1].slot, 1)
    assert still_open is not None, "accept(0) refuses new offers, not those made"
    still_open.release()
    assert ring.counters().held == 0
    with pytest.raises(RingError, match="max_held is 5: expected 0 to 4"):
        publisher.accept(5)


def test_adopt_needs_the_right_slot_and_frame_number(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=4)
    worker, publisher, writer = ring.reader("worker"), ring.reader("publisher"), ring.writer()
    publisher.accept(4)
    writer.write(source_frame(0))
    with must_take(worker) as held:
        assert publisher.adopt(held.slot, 0) is None, "not shared yet"
        assert held.share_with("publisher")
        assert publisher.adopt(held.slot, 1) is None
        assert publisher.adopt(held.slot + 1, 0) is None
        assert publisher.adopt(-1, 0) is None
        assert publisher.adopt(4, 0) is None
        adopted = publisher.adopt(held.slot, 0)
        assert adopted is not None
        held.withdraw("publisher")
    assert ring.counters().held == 1, "a frame that was adopted cannot be withdrawn"
    adopted.release()


def test_an_offer_can_be_withdrawn(make_ring: MakeRing) -> None:
    ring = make_ring("every")
    worker, publisher, writer = ring.reader("worker"), ring.reader("publisher"), ring.writer()
    publisher.accept(1)
    writer.write(source_frame(0))
    held = must_take(worker)
    assert held.share_with("publisher")
    held.withdraw("publisher")
    assert publisher.adopt(held.slot, 0) is None
    held.release()
    assert ring.counters().held == 0


def test_a_new_reader_frees_only_what_its_role_held(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=5)
    worker, publisher, writer = ring.reader("worker"), ring.reader("publisher"), ring.writer()
    publisher.accept(5)
    for number in range(5):
        writer.write(source_frame(number))
    both, offered, held_only, released = (must_take(worker) for _ in range(4))
    for frame in (both, offered, released):
        frame.share_with("publisher")
    adopted = publisher.adopt(both.slot, 0)
    assert adopted is not None
    released.release()

    worker = ring.reader("worker")  # its predecessor died: the slots it held or was about to take are free
    assert ring.counters().held == 1
    assert ring.counters().abandoned == 3
    assert publisher.adopt(offered.slot, offered.frame.frame_id) is None
    assert publisher.adopt(released.slot, released.frame.frame_id) is None
    held_only.release()  # as if the dead one spoke up late
    assert ring.counters().pending == 1

    ring.reader("publisher")
    assert ring.counters().held == 0
    assert ring.counters().abandoned == 3, "a picture that is not sent is no lost frame"
    with must_take(worker) as last:
        assert not last.share_with("publisher"), "the successor accepts none until it says so"
        assert last.frame.frame_id == 4


def test_too_large_a_frame_is_refused(make_ring: MakeRing) -> None:
    ring = make_ring(slot_bytes=4096)
    writer = ring.writer()
    exact = FrameFormat(ring._memory.slot_bytes, 1, "gray8")
    assert writer.write(source_frame(0, exact)) == 0
    with pytest.raises(FrameTooLargeError, match="the frame ring carries"):
        writer.write(source_frame(0, FrameFormat(exact.width + 1, 1, "gray8")))
    assert ring.counters().frames == 1


@pytest.mark.parametrize(
    "planes",
    [
        (np.zeros((1, 64), np.uint8),),  # copyto would stretch it over all rows
        (np.zeros((48, 64), np.uint16),),
        (np.zeros((48, 64), np.uint8),) * 2,
        (),
    ],
)
def test_planes_must_fit_the_format(make_ring: MakeRing, planes: tuple[np.ndarray, ...]) -> None:
    ring = make_ring()
    with pytest.raises(RingError, match="needs uint8"):
        ring.writer().write(SourceFrame(FrameFormat(64, 48, "gray8"), planes, stamps()))
    assert ring.counters().frames == 0


def test_a_failing_write_leaves_its_slot_free(make_ring: MakeRing) -> None:
    ring = make_ring("every", slots=2)
    writer = ring.writer()
    frame = source_frame(0)
    broken = SourceFrame(frame.format, frame.planes, stamps(2**70))  # does not fit into its field
    for _ in range(3):
        with pytest.raises(Exception, match=r"int too large|argument out of range|format requires"):
            writer.write(broken)
    assert writer.write(frame) == 0


@pytest.mark.parametrize(("slots", "slot_bytes"), [(1, 1), (17, 1), (4, 0)])
def test_sizes_out_of_range_are_refused(slots: int, slot_bytes: int) -> None:
    with pytest.raises(RingError, match=r"is \d+: expected"):
        FrameRing(policy="newest", slots=slots, slot_bytes=slot_bytes)
