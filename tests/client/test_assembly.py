"""From message parts to results: hostile bytes are rejected, messages of newer daemons are accepted."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from streamseg.client.assembly import assemble
from streamseg.errors import ProtocolError
from streamseg.protocol.clock import clock_name


def test_masks_are_decoded_when_asked_for_and_once(golden):
    cup, cat, unseen = assemble(golden("masks_coco_rle")).objects
    assert (cup.roi, cup.crop.shape, cup.mask.shape) == ((3, 2, 5, 4), (4, 5), (10, 16))
    np.testing.assert_array_equal(cup.mask[2:6, 3:8], cup.crop)
    assert cup.mask.sum() == cup.crop.sum() == cup.area == 14
    assert cup.mask is cup.mask
    assert cat.mask[7:10, 7:16].all()
    assert (unseen.crop.shape, unseen.mask.shape, unseen.mask.any()) == ((0, 0), (10, 16), False)


@pytest.mark.parametrize(
    ("aspect", "display_size"), [([1, 1], (16, 10)), ([16, 11], (23, 10)), ([3, 4], (12, 10)), ([2, 1], (32, 10))]
)
def test_sample_aspect_changes_the_display_only(golden, aspect, display_size):
    frame = assemble(golden("masks_coco_rle", sample_aspect=aspect))
    assert (frame.sample_aspect, frame.display_size) == (tuple(aspect), display_size)
    assert frame.objects[0].mask.shape == (10, 16)


def test_a_daemon_without_sample_aspect_has_square_pixels(golden):
    assert assemble(golden("objects")).sample_aspect == (1, 1)
    assert assemble(golden("objects_aspect")).sample_aspect == (16, 11)


@pytest.mark.parametrize("aspect", [[0, 1], [1, 0], [-1, 1], [1], "16:11", [1.5, 1]])
def test_an_impossible_sample_aspect_is_refused(golden, aspect):
    with pytest.raises(ProtocolError):
        assemble(golden("masks_coco_rle", sample_aspect=aspect))


def test_coco_rle_of_the_whole_frame(golden):
    cup = assemble(golden("masks_bits_zstd")).objects[0]
    rle = cup.to_coco_rle()
    assert rle == coco.encode(np.asfortranarray(cup.mask.astype(np.uint8)))
    assert coco.area(rle) == 14


def test_what_a_newer_daemon_may_add_is_taken(golden):
    parts = golden("masks_coco_rle", colour="red", t_source="ptp")
    header = json.loads(parts[1])
    header["objects"][0] |= {"state": "merged", "depth_m": 2.5}
    parts[1] = json.dumps(header).encode()
    result = assemble([*parts, b"a further part"])
    assert (result.t_source, result.objects[0].state) == ("ptp", "merged")
    assert assemble(golden("event_object", kind="object_split")).event == "object_split"
    assert assemble(golden("status", state="dreaming")).state == "dreaming"


def test_an_unknown_mask_encoding_leaves_the_rest_readable(golden):
    parts = golden("masks_coco_rle")
    header = json.loads(parts[1])
    header["objects"][0]["encoding"] = "coco_rle2"
    obj = assemble([parts[0], json.dumps(header).encode(), *parts[2:]]).objects[0]
    assert obj.area == 14
    with pytest.raises(ProtocolError, match="'coco_rle2' is unknown"):
        _ = obj.mask


def test_a_mask_of_malformed_bytes_is_refused_when_asked_for(golden):
    parts = golden("masks_coco_rle")
    parts[2] = b"\xff\xff"
    with pytest.raises(ProtocolError, match="coco_rle"):
        _ = assemble(parts).objects[0].mask


def change_object(**changes):
    def change(parts):
        header = json.loads(parts[1])
        header["objects"][0] |= changes
        parts[1] = json.dumps(header).encode()

    return change


def change_header(**changes):
    def change(parts):
        parts[1] = json.dumps(json.loads(parts[1]) | changes).encode()

    return change


def change_part(index, data):
    def change(parts):
        parts[index] = data

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change_object(part=0), id="part is the topic"),
        pytest.param(change_object(part=4), id="part beyond the last"),
        pytest.param(change_object(part=-1), id="part before the first"),
        pytest.param(change_object(part=10**30), id="part far away"),
        pytest.param(change_object(roi=[12, 2, 5, 4]), id="roi beyond the right edge"),
        pytest.param(change_object(roi=[3, 7, 5, 4]), id="roi beyond the lower edge"),
        pytest.param(change_object(roi=[-1, 2, 5, 4]), id="roi beyond the left edge"),
        pytest.param(change_object(roi=[3, 2, 0, 4]), id="roi without width"),
        pytest.param(change_object(roi=[3, 2, 10**20, 4]), id="roi of any size"),
        pytest.param(change_object(roi=[3, 2, 5]), id="roi of three"),
        pytest.param(change_object(id="1"), id="an id that is no number"),
        pytest.param(change_header(size=[2**20, 2**20]), id="frame larger than any"),
        pytest.param(change_header(size=[0, 10]), id="frame without width"),
        pytest.param(change_header(size=[-16, -10]), id="frame of negative size"),
        pytest.param(change_header(t_captured_ns="soon"), id="stamp that is no number"),
        pytest.param(change_header(t_wall_ns="9" * 5000), id="stamp of 5000 digits"),
        pytest.param(change_header(type="objects"), id="another type"),
        pytest.param(change_header(stream="cam2"), id="stream of another topic"),
        pytest.param(change_part(0, b"v1/cam1/masks"), id="topic without last slash"),
        pytest.param(change_part(0, b"v2/cam1/masks/"), id="topic of another version"),
        pytest.param(change_part(0, b"v1/../masks/"), id="topic with another stream"),
        pytest.param(change_part(1, b""), id="no header"),
        pytest.param(change_part(1, b"[" * 100_000), id="header of brackets"),
        pytest.param(change_part(1, b'{"type":"masks","stream":"\xff"}'), id="header that is no UTF-8"),
        pytest.param(lambda parts: parts.__delitem__(slice(1, None)), id="topic alone"),
        pytest.param(lambda parts: parts.clear(), id="nothing at all"),
    ],
)
def test_malformed_messages_are_refused(golden, change):
    parts = golden("masks_coco_rle")
    assert assemble(parts).frame == 1240
    change(parts)
    with pytest.raises(ProtocolError):
        assemble(parts)


def test_pictures_need_their_part(golden):
    with pytest.raises(ProtocolError, match="expected jpeg"):
        assemble(golden("image")[:2])
    with pytest.raises(ProtocolError, match="'avif'"):
        assemble(golden("image", encoding="avif"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("masks_coco_rle", "masks_bits_zstd", "objects", "image", "event_object", "status", "daemon_status")


@given(data=st.data(), name=st.sampled_from(NAMES))
@settings(max_examples=300)
def test_any_change_is_refused_or_read_but_never_crashes(golden, data, name):
    parts = golden(name)
    header = json.loads(parts[1])
    place = header
    if isinstance(header.get("objects"), list) and data.draw(st.booleans()):
        place = data.draw(st.sampled_from(header["objects"]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    parts[1] = json.dumps(header).encode()
    if data.draw(st.booleans()):
        parts[data.draw(st.integers(0, len(parts) - 1))] = data.draw(st.binary(max_size=60))
    try:
        result = assemble(parts)
        for obj in getattr(result, "objects", ()) if name.startswith("masks") else ():
            assert obj.mask.shape == result.size[::-1]
        if name == "image":
            _ = result.rgb
    except ProtocolError:
        return


def test_age_is_exact_on_the_daemons_machine(golden):
    captured = time.monotonic_ns() - 50_000_000
    here = assemble(golden.masks(1, clock=clock_name(), t_captured_ns=str(captured)))
    assert here.same_clock
    assert 50.0 <= here.age_ms < 50.0 + 20_000
    wall = time.time_ns() - 3_000_000_000
    elsewhere = assemble(golden.masks(1, clock="00000000", t_wall_ns=str(wall), t_captured_ns="5"))
    assert not elsewhere.same_clock
    assert 3000.0 <= elsewhere.age_ms < 3000.0 + 20_000
    assert not assemble(golden.masks(1, clock="")).same_clock


def test_the_clocks_name_is_as_the_contract_says():
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    if not boot_id.exists():
        pytest.skip("this kernel tells no boot id")
    assert clock_name() == hashlib.sha256(b"streamseg clock " + boot_id.read_bytes().strip()).hexdigest()[:8]


@pytest.mark.parametrize("kind", ["masks_coco_rle", "image"])
def test_a_header_without_encoding_is_a_protocol_error(golden, kind):
    parts = golden(kind)
    header = json.loads(parts[1])
    for holder in header.get("objects", [header]):
        holder.pop("encoding")
    with pytest.raises(ProtocolError, match="encoding"):
        assemble([parts[0], json.dumps(header).encode(), *parts[2:]])
