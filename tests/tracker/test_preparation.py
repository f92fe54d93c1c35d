"""What the state says while a faster engine is prepared in a thread."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from streamseg.tracker.engine import Progress
from streamseg.tracker.preparation import Preparation


class Held:
    """A process that makes progress once, and then waits until the test lets it end."""

    def __init__(self) -> None:
        self.began, self.allowed = threading.Event(), threading.Event()

    def run(self, _task: Any, _job: Any, _folder: Path, progress: Progress) -> None:
        progress("converting", 0.4)
        self.began.set()
        assert self.allowed.wait(60)

    def cancel(self) -> None:
        self.allowed.set()


def test_the_state_is_not_final_from_the_start_to_the_end(tmp_path: Path) -> None:
    process, loaded = Held(), threading.Event()
    preparation = Preparation("OpenVINO", "converting", process)

    def prepare() -> None:
        assert loaded.wait(60)
        preparation.run_process(lambda *_: None, None, tmp_path, lambda *_: None)
        preparation.state = "openvino"

    preparation.start(prepare)
    assert preparation.state == "eager (loading)"
    loaded.set()
    assert process.began.wait(60)
    assert preparation.state == "eager (converting 40 %)"
    process.allowed.set()
    preparation.join(60)
    assert preparation.state == "openvino"


def test_what_was_loaded_before_the_thread_started_is_shown() -> None:
    preparation, loaded = Preparation("OpenVINO", "converting", Held()), threading.Event()
    preparation.state = "openvino"
    preparation.start(lambda: assert_set(loaded))
    assert preparation.state == "openvino"
    loaded.set()
    preparation.join(60)


def assert_set(event: threading.Event) -> None:
    assert event.wait(60)
