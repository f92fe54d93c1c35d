"""The protocol, byte for byte: what we write, what the client reads, and the examples of docs/protocol.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamseg.client.assembly import assemble
from streamseg.client.results import (
    DaemonStatusMessage,
    EventMessage,
    ImageFrame,
    MaskFrame,
    ObjectsFrame,
    StatusMessage,
)
from tests.protocol import golden_messages

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
NAMES = sorted(golden_messages.messages())


@pytest.mark.parametrize("name", NAMES)
def test_messages_have_not_changed(name):
    written = golden_messages.messages()[name]
    golden = golden_messages.read(name)
    # First readably, then exactly.
    assert [json.loads(written[1])] == [json.loads(golden[1])]
    assert written == golden


def test_every_golden_file_is_checked():
    files = {path.stem for path in golden_messages.FOLDER.glob("*.bin")}
    assert files == {*NAMES, "masks_bits_zstd", "event_object_0_1", "event_daemon_0_1"}


@pytest.mark.parametrize("name", ["masks_coco_rle", "masks_bits_zstd"])
def test_masks_read_back(name):
    result = assemble(golden_messages.read(name))
    assert isinstance(result, MaskFrame)
    assert (result.stream, result.frame, result.epoch, result.size) == ("cam1", 1240, 3, (16, 10))
    assert (result.t_wall_ns, result.t_source) == (1_790_000_000_123_456_789, "rtcp")
    assert result.t_captured_ns == 998_877_665_544_332
    assert result.t_published_ns == 998_877_700_000_000
    assert (result.pts, result.time_base, result.dropped) == (8_123_456, (1, 90_000), 6)
    assert [obj.id for obj in result.objects] == [1, 2, 3]
    assert [obj.label for obj in result.objects] == ["cup", "chat é", ""]
    assert [obj.state for obj in result.objects] == ["tracked", "tracked", "occluded"]
    assert [obj.score for obj in result.objects] == [0.9123, 1.0, 0.25]
    assert [obj.presence for obj in result.objects] == [0.8699, 1.0, 0.0293]
    for obj in result.objects:
        np.testing.assert_array_equal(obj.mask, golden_messages.full_mask(obj.id))
        assert obj.area == obj.mask.sum()


def test_confidence_reads_back_and_is_none_where_it_is_not_sent():
    for name in ("masks_confident", "objects_confident"):
        objects = assemble(golden_messages.read(name)).objects
        assert [obj.confidence for obj in objects] == [0.9877, 0.21, 0.0]
        assert [obj.state for obj in objects] == ["tracked", "uncertain", "occluded"]
    for name in ("masks_coco_rle", "objects"):
        assert [obj.confidence for obj in assemble(golden_messages.read(name)).objects] == [None, None, None]
        assert b"confidence" not in golden_messages.read(name)[1]
    event = assemble(golden_messages.read("event_uncertain"))
    assert (event.event, event.object) == ("object_uncertain", 2)


def test_messages_of_other_kinds_read_back():
    objects = assemble(golden_messages.read("objects"))
    assert isinstance(objects, ObjectsFrame)
    assert [(obj.id, obj.bbox) for obj in objects.objects] == [(1, (3, 2, 5, 4)), (2, (7, 7, 9, 3)), (3, (0, 0, 0, 0))]
    assert assemble(golden_messages.read("objects_second")).seq == 1
    repeated = assemble(golden_messages.read("objects_repeated"))
    assert isinstance(repeated, ObjectsFrame)
    assert (objects.repeats, repeated.repeats, repeated.frame) == (None, 1237, 1240)
    image = assemble(golden_messages.read("image"))
    assert isinstance(image, ImageFrame)
    assert (image.jpeg, image.frame) == (golden_messages.JPEG, objects.frame)
    event = assemble(golden_messages.read("event_object"))
    assert isinstance(event, EventMessage)
    assert (event.event, event.object, event.label, event.frame) == ("object_lost", 2, "chat é", 1240)
    daemon_event = assemble(golden_messages.read("event_daemon"))
    assert isinstance(daemon_event, EventMessage)
    assert (daemon_event.stream, daemon_event.event, daemon_event.frame) == ("_daemon", "worker_restarted", None)
    status = assemble(golden_messages.read("status"))
    assert isinstance(status, StatusMessage)
    assert (status.state, status.drops, status.published) == ("streaming", {"ring/superseded": 6}, {"masks": 1234})
    assert (status.frames, status.tracked, status.repeated) == (1241, 1135, 100)
    daemon = assemble(golden_messages.read("daemon_status"))
    assert isinstance(daemon, DaemonStatusMessage)
    assert (daemon.streams, daemon.restarts, daemon.clock) == (["cam1"], {"worker": 1}, "5ca1ab1e")


def test_events_tell_when_they_happened_and_resets_of_which_objects():
    events = [assemble(golden_messages.read(f"event_{name}")) for name in ("object", "reset", "daemon")]
    assert [event.t_mono_ns for event in events] == [998_877_800_000_000, 998_877_850_000_000, 998_877_900_000_000]
    assert {event.clock for event in events} == {"5ca1ab1e"}
    assert [event.objects for event in events] == [(), (1, 2, 3), ()]


@pytest.mark.parametrize("name", ["event_object", "event_daemon"])
def test_events_of_version_0_1_are_understood(name):
    old, new = (assemble(golden_messages.read(f"{name}{version}")) for version in ("_0_1", ""))
    assert isinstance(old, EventMessage)
    assert (old.t_mono_ns, old.clock, old.objects) == (None, "", ())
    assert old == replace(new, t_mono_ns=None, clock="")


@pytest.mark.parametrize("name", [*NAMES, "masks_bits_zstd"])
def test_every_field_is_in_the_contract(name):
    contract = PROTOCOL.read_text()
    header = json.loads(golden_messages.read(name)[1])
    objects = header["objects"] if isinstance(header.get("objects"), list) else []
    names = {*header, *(key for obj in objects if isinstance(obj, dict) for key in obj)}
    missing = {name for name in names if f"`{name}`" not in contract}
    assert not missing


def code_blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PROTOCOL.read_text(), re.DOTALL)


def test_the_python_example_of_the_contract_decodes_masks():
    namespace: dict[str, object] = {}
    exec(code_blocks("python")[0], namespace)
    parts = golden_messages.read("masks_coco_rle")
    masks = dict(namespace["masks_of"](parts, json.loads(parts[1])))
    assert sorted(masks) == [1, 2, 3]
    for obj_id, mask in masks.items():
        np.testing.assert_array_equal(mask, golden_messages.full_mask(obj_id))


def test_the_javascript_example_of_the_contract_decodes_masks():
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    script = (
        code_blocks("javascript")[0]
        + """
    const data = require("fs").readFileSync(process.argv[1]);
    const parts = [];
    for (let at = 0; at < data.length; ) {
      const length = data.readUInt32BE(at);
      parts.push(data.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    const masks = masksOf(parts, JSON.parse(parts[1])).map((o) => [o.id, Array.from(o.mask)]);
    console.log(JSON.stringify(masks));
    """
    )
    file = golden_messages.FOLDER / "masks_coco_rle.bin"
    ran = subprocess.run([node, "-e", script, str(file)], capture_output=True, text=True, timeout=60, check=True)
    masks = dict(json.loads(ran.stdout))
    assert sorted(masks) == [1, 2, 3]
    for obj_id, pixels in masks.items():
        assert pixels == golden_messages.full_mask(obj_id).astype(int).ravel().tolist()
