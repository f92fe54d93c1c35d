"""What comes back when a daemon is started again, and where the configuration file wins."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from streamseg.config.load import config_from_mapping
from streamseg.config.schema import Config
from streamseg.daemon.kept_state import KeptState
from streamseg.daemon.process_table import RunningStream
from streamseg.errors import StateError
from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt, SavedStream, configured
from streamseg.ring.frame_ring import FrameRing
from streamseg.state.daemon_record import DaemonRecord, encode_record
from streamseg.state.folder import StateFolder
from streamseg.state.place import RECORD, state_folder

CLICKED = SavedObject(9, "clicked", (SavedPrompt(points=((0.5, 0.5, 1.0),)),))


def config(*boxes: tuple[int, list[int]], source: str = "scene:simple", label: str = "") -> Config:
    prompts = [{"object": obj_id, "box": box, "label": label} for obj_id, box in boxes]
    return config_from_mapping({"streams": {"cam": {"source": source, "prompts": prompts}}})


def run_before(folder: Path, settings: Config, *, added: bool = False) -> None:
    """A run that tracked the configured objects and a clicked one."""
    streams = settings.streams
    saved = configured(streams["cam"].prompts)
    saved = SavedStream((*saved.objects, CLICKED), 10)
    ring = FrameRing(policy="newest")
    running = {"cam": RunningStream(streams["cam"], ring, saved)}
    if added:
        running["extra"] = RunningStream(streams["cam"], ring, SavedStream((CLICKED,), 10), from_file=False)
    kept = KeptState(folder, Path("cameras.yaml"))
    assert kept.write(running)
    kept.close()
    ring.close()


def started(folder: Path, settings: Config) -> dict[str, SavedStream | None]:
    kept = KeptState(folder, Path("cameras.yaml"))
    try:
        return {stream: saved for stream, (_, saved, _) in kept.streams(settings).items()}
    finally:
        kept.close()


def test_clicked_objects_come_back_with_id_and_label(tmp_path: Path) -> None:
    settings = config((1, [1, 2, 3, 4]))
    run_before(tmp_path, settings)
    saved = started(tmp_path, settings)["cam"]
    assert saved is not None
    assert (saved.next_id, saved.earlier) == (10, True)
    assert saved.objects == (*configured(settings.streams["cam"].prompts).objects, CLICKED)
    assert (tmp_path / RECORD).stat().st_mode & 0o777 == 0o600


def test_configured_objects_of_a_record_without_origins_are_configured(tmp_path: Path) -> None:
    settings = config((1, [1, 2, 3, 4]))
    run_before(tmp_path, settings)
    body = json.loads((tmp_path / RECORD).read_bytes().partition(b"\n")[2])
    for obj in body["streams"]["cam"]["saved"]["objects"]:
        del obj["origin"]  # as before the feature ``find``
    record = msgspec.convert(body, DaemonRecord)
    (tmp_path / RECORD).write_bytes(encode_record(record))
    saved = started(tmp_path, settings)["cam"]
    assert saved is not None
    assert {obj.obj_id: obj.origin for obj in saved.objects} == {1: "config", 9: "user"}


def test_the_configuration_file_wins(tmp_path: Path) -> None:
    run_before(tmp_path, config((1, [1, 2, 3, 4]), (2, [5, 6, 7, 8])))
    changed = started(tmp_path, config((1, [10, 20, 30, 40]), (3, [1, 1, 9, 9]), label="new"))["cam"]
    assert changed is not None
    assert [(obj.obj_id, obj.label) for obj in changed.objects] == [(1, "new"), (3, "new"), (9, "clicked")]
    assert changed.objects[0].prompts[0].box == (10, 20, 30, 40)
    other = started(tmp_path, config((1, [1, 2, 3, 4]), source="scene:crossing"))["cam"]
    assert other is not None
    assert ([obj.obj_id for obj in other.objects], other.next_id, other.earlier) == ([1], 10, False)


def test_streams_that_were_added_come_back(tmp_path: Path) -> None:
    settings = config()
    run_before(tmp_path, settings, added=True)
    kept = KeptState(tmp_path, Path("cameras.yaml"))
    found = kept.streams(settings)
    kept.close()
    assert {stream: from_file for stream, (_, _, from_file) in found.items()} == {"cam": True, "extra": False}
    assert found["extra"][0] == settings.streams["cam"]
    assert found["extra"][1] is not None


@pytest.mark.parametrize("damage", [b"", b"0" * 32 + b"\n{}", b"\xff\n\xff"])
def test_a_damaged_record_is_not_used_and_says_so(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config((1, [1, 2, 3, 4]))
    run_before(tmp_path, settings)
    StateFolder(tmp_path, durable=False).write(RECORD, damage)
    assert started(tmp_path, settings) == {"cam": None}
    assert "is not used: it is damaged" in caplog.text


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    kept = KeptState(tmp_path, Path("cameras.yaml"))
    with pytest.raises(StateError, match="in use by another daemon"):
        KeptState(tmp_path, Path("cameras.yaml"))
    kept.close()
    KeptState(tmp_path, Path("cameras.yaml")).close()


def test_each_configuration_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    one, two = (state_folder(tmp_path / name / "cams.yaml", None) for name in ("a", "b"))
    assert one.parent == two.parent == Path("/state/streamseg")
    assert one != two
    assert one.name.startswith("cams-")
    assert state_folder(tmp_path / "cams.yaml", "kept") == tmp_path / "kept"
    assert len(os.fsencode(state_folder(tmp_path / f"{'é' * 125}.yaml", None).name)) == 255
    assert len(state_folder(tmp_path / f"x{'é' * 124}.yaml", None).name.encode()) == 254
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/streamseg:/other")
    assert state_folder(tmp_path / "cams.yaml", None).parent == Path("/var/lib/streamseg")
