"""Tasks in a process of their own."""

from __future__ import annotations

import itertools
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from streamseg.tracker import background
from streamseg.tracker.background import BackgroundProcess, CancelledError, _progress

if TYPE_CHECKING:  # torch takes seconds to import, in each process
    from streamseg.tracker.engine import Progress


def write(text: str, folder: Path, progress: Progress) -> None:
    progress("writing", 0.5)
    print("a library says something")
    (folder / "written").write_text(f"{text} {os.sched_getscheduler(0)} {os.nice(0)}")


def fail(text: str, folder: Path, progress: Progress) -> NoReturn:
    raise ValueError(text)


def hang(job: None, folder: Path, progress: Progress) -> None:
    progress("hanging", 0.0)
    select.select([], [], [], 600)


def hang_if_idle(job: None, folder: Path, progress: Progress) -> None:
    progress("hanging", 0.0)
    if os.sched_getscheduler(0) == os.SCHED_IDLE:
        select.select([], [], [], 600)


def read(fifo: str, folder: Path, progress: Progress) -> None:
    (folder / "written").write_text(f"{Path(fifo).read_text()} {os.sched_getscheduler(0)}")


def ignore(what: str, share: float) -> None:
    pass


def test_a_task_runs_on_idle_time(tmp_path: Path) -> None:
    parts: list[tuple[str, float]] = []
    BackgroundProcess().run(write, "hello", tmp_path, lambda *part: parts.append(part))
    assert parts == [("writing", 0.5)]
    assert (tmp_path / "written").read_text() == f"hello {os.SCHED_IDLE} {os.nice(0)}"
    assert [path.name for path in tmp_path.iterdir()] == ["written"]


def test_without_idle_time_it_starts_again_with_niceness(tmp_path: Path) -> None:
    parts: list[str] = []
    # A limit of seconds: the process has to come as far as its first part.
    BackgroundProcess(idle_limit_s=1.0).run(hang_if_idle, None, tmp_path, lambda what, share: parts.append(what))
    assert parts[-1] == "hanging"


def test_a_task_that_computes_keeps_its_idle_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    sums = itertools.chain((1.0, 2.0), itertools.count(1.5))  # falls where a compiler ends
    shares: list[float] = []

    def measure(pid: int, *, waiting: bool) -> float:
        if len(shares) == 3:
            fifo.write_text("done")  # it has outlived the limit three times
        shares.append(next(sums))
        return shares[-1]

    monkeypatch.setattr(background, "active_s", measure)
    BackgroundProcess(idle_limit_s=0.3).run(read, str(fifo), tmp_path, ignore)
    assert (tmp_path / "written").read_text() == f"done {os.SCHED_IDLE}"


def test_a_failed_task_reports_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 1: .*ValueError: no such layer"):
        BackgroundProcess("normal").run(fail, "no such layer", tmp_path, ignore)


def test_a_hanging_task_is_stopped_and_reported(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"it was stopped, because it did not end within 0\.5 s"):
        BackgroundProcess("normal", limit_s=0.5).run(hang, None, tmp_path, ignore)
    assert not list(tmp_path.iterdir())


def test_a_task_can_be_cancelled(tmp_path: Path) -> None:
    process, hanging = BackgroundProcess("normal"), threading.Event()
    errors: list[Exception] = []

    def run() -> None:
        try:
            process.run(hang, None, tmp_path, lambda what, share: hanging.set())
        except CancelledError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert hanging.wait(60)
    process.cancel()
    thread.join(60)
    assert len(errors) == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(CancelledError):
        process.run(write, "hello", tmp_path, ignore)


STARTS_TASK = """
import sys
from pathlib import Path
from streamseg.tracker.background import BackgroundProcess
from tests.tracker.test_background import hang
BackgroundProcess("normal").run(hang, None, Path(sys.argv[1]), lambda *part: print(*part, flush=True))
"""


def test_a_task_ends_with_its_worker(tmp_path: Path) -> None:
    """The worker is killed in the middle; what is left does not include the job."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_TASK, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as worker:
        try:
            assert worker.stdout is not None
            assert "hanging" in worker.stdout.readline()
            (task,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
            ended = os.pidfd_open(int(task))
        finally:
            worker.kill()
    try:
        assert select.select([ended], [], [], 60)[0]
    finally:
        os.close(ended)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line", ["3\n", "true\n", "null\n", "[1, 2]\n", '["a", null]\n', '["a", 1e999]\n', "[" * 100_000]
)
def test_what_a_library_prints_is_not_taken_for_progress(line: str) -> None:
    assert _progress(line) is None
    assert _progress('["tracing", 1]\n') == ("tracing", 1.0)
