"""Prompters in a real daemon: a good one, and others that hang, crash, raise and return nonsense."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamseg.client import Controller, EventMessage, MaskFrame, StatusMessage, Subscriber
from streamseg.errors import ControlError
from tests.e2e.daemon_process import DaemonProcess, wait_for
from tests.prompters.onnx_file import write_model

STRANGE = Path(__file__).parent / "strange_prompters.py"
COLOR = Path(__file__).parents[2] / "examples" / "prompter_color.py"
FPS = 10
HISTORY = 5
"""Frames that are held: half a second. The slow prompter takes three times as long."""


def prompter(function: str, **settings: object) -> dict[str, object]:
    return {"type": f"{STRANGE}:{function}", "every_s": 0.1, "timeout_s": 1, "confirm": 2, **settings}


STREAMS = {
    "good": {
        "source": f"scene:simple?size=320x180&fps={FPS}",
        "prompters": {
            "red": {"type": f"{COLOR}:create", "every_s": 0.2, "confirm": 2, "settings": {"color": "red"}},
            "blue": {"type": "onnx", "every_s": 0.2, "settings": {"model": "tiny.onnx", "only": ["blue"]}},
            "level": prompter("refuses", settings={"level": 3}),
            "nothing": prompter("makes_nothing"),
        },
    },
    "late": {
        "source": f"scene:simple?size=320x180&fps={FPS}",
        "prompters": {"slow": prompter("slow", confirm=1, timeout_s=30, settings={"seconds": 1.5})},
    },
    "bad": {
        "source": f"scene:simple?size=320x180&fps={FPS}",
        "prompts": [{"object": 7, "points": [[0.5, 0.5]], "coords": "normalized"}],
        "prompters": {name: prompter(name) for name in ("hangs", "crashes", "raises", "talks_nonsense")},
    },
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("daemon")
    write_model(folder / "tiny.onnx", names="{0: 'red', 1: 'blue'}")
    config = {
        "model": {"name": "color", "history_frames": HISTORY},
        "streams": STREAMS,
        "publish": {"wait_for_subscriber": True},
    }
    running = DaemonProcess(config, folder)
    running.wait_log("ready: masks at")
    yield running
    running.close()


class Watch:
    """What a subscriber has seen of each stream."""

    def __init__(self) -> None:
        self.events: dict[str, list[EventMessage]] = defaultdict(list)
        self.status: dict[str, StatusMessage] = {}
        self.objects: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)

    def see(self, message: object) -> None:
        match message:
            case EventMessage():
                self.events[message.stream].append(message)
            case StatusMessage():
                self.status[message.stream] = message
            case MaskFrame():
                self.objects[message.stream].update({obj.id: (obj.origin, obj.label) for obj in message.objects})

    def details(self, stream: str, kind: str) -> list[str]:
        return [event.detail for event in self.events[stream] if event.event == kind]

    def complete(self) -> bool:
        bad, restarted = self.status.get("bad"), "\n".join(self.details("bad", "prompter_restarted"))
        return bool(
            bad is not None
            and bad.prompters is not None
            and bad.prompters["talks_nonsense"].looks >= 7
            and bad.prompters["talks_nonsense"].invalid >= 1_000_000
            and bad.prompters["raises"].failed >= 3
            and len(self.objects["good"]) >= 2
            and len(self.objects["late"]) >= 1
            and "hangs: " in restarted
            and "crashes: " in restarted
            and len(self.details("good", "prompter_failed")) == 2
        )


def test_proposals_are_tracked_and_failing_prompters_cost_no_frame(daemon: DaemonProcess) -> None:
    watch = Watch()
    with Subscriber(daemon.endpoint, mode="all", kinds=("masks", "events", "status")) as subscriber:
        for message in subscriber:
            watch.see(message)
            if watch.complete():
                break
    restarted = "\n".join(watch.details("bad", "prompter_restarted"))
    assert "hangs: it made no progress for" in restarted
    assert "crashes: killed by SIGABRT" in restarted
    assert "raises" not in restarted
    failed = "\n".join(watch.details("good", "prompter_failed"))
    assert "level: settings.level: 3 is unknown: write high or low" in failed
    assert "nothing: type: " in failed
    assert "which has no method prompts(picture, tracked)" in failed
    found = [event.label for event in watch.events["good"] if event.event == "object_found"]
    assert sorted(found) == ["blue", "red"], "no object twice"
    assert set(watch.objects["good"].values()) == {("prompter", "red"), ("prompter", "blue")}
    assert watch.objects["bad"] == {7: ("config", "")}, "nothing valid was proposed"
    assert set(watch.objects["late"].values()) == {("prompter", "late")}
    late = watch.status["late"].prompters
    assert late is not None
    assert late["slow"].expired == 0
    assert late["slow"].call_ms > 1000 * HISTORY / FPS
    for stream, status in watch.status.items():
        assert status.drops.keys() <= {"ring/superseded"}, stream  # no slot was missing, nothing failed
    assert daemon.child("worker").pid, "still the first worker"
    assert "worker_restarted" not in daemon.log


def test_prompters_change_with_the_file_and_not_by_request(daemon: DaemonProcess) -> None:
    with Controller(daemon.control) as control, pytest.raises(ControlError, match="only taken from the configuration"):
        control.change_stream("good", {"prompters": {"more": prompter("raises")}})

    def present() -> set[int]:
        return {child.pid for child in daemon.children("prompter:good:red")}

    wait_for(present, 60, "the process")
    before = present()
    text = daemon.file.read_text().replace("color: red", "color: green")
    daemon.file.write_text(text)
    with Controller(daemon.control) as control:
        result = control.reload()
    assert result.changed == ("good",)
    wait_for(lambda: len(present()) == len(present() - before) == 1, 60, "a new process")
