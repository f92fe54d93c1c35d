"""The life cycle of a child, with real processes."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest

from streamseg.daemon import stall_watch
from streamseg.daemon.child import Child
from streamseg.daemon.process_table import ProcessEntry
from streamseg.daemon.stall_watch import StallWatch


@pytest.fixture
def make_child() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def make(behavior: str, silence_s: float = 30.0, ready_s: float = 60.0, busy_s: float = 0.0) -> Child:
        name, args = f"test:{behavior}", (behavior,)
        children.append(Child(ProcessEntry(name, "tests.daemon.child_mains", args, ready_s, silence_s, busy_s)))
        children[-1].start()
        return children[-1]

    yield make
    for child in children:
        child.kill()


def wait_for_report(child: Child, kind: str, timeout_s: float = 60.0) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        wait(child.waitables(), timeout=1.0)
        for report in child.take_messages():
            if report.kind == kind:
                return report.text
    pytest.fail(f"the child did not say {kind}")


def until_dead(child: Child, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    wait([child.sentinel], timeout=timeout_s)
    while not child.died():  # the sentinel closes a moment before the kernel has the exit code
        assert time.monotonic() < deadline
        time.sleep(0.001)
    child.take_messages()


def test_child_is_ready_named_and_ends_when_asked(make_child):
    child = make_child("obeys")
    assert child.state == "starting"
    wait_for_report(child, "ready")
    assert child.state == "ready"
    assert not child.hangs()
    names = [process.name() for process in psutil.Process().children()]
    assert "test:obeys" in names
    child.request_stop()
    until_dead(child)
    assert child.describe_exit() == "exit code 0"


def test_child_that_is_killed_says_by_what_and_backs_off(make_child):
    child = make_child("killed")
    delays = []
    for attempt in range(1, 4):
        until_dead(child)
        assert child.describe_exit() == "killed by SIGKILL"
        child.schedule_restart()
        assert child.state == "restarting"
        assert child.failed_starts == attempt
        delays.append(child.restart_in_s())
        assert not child.restart_due()
        child.start()
    assert child.restarts == 3
    assert delays[1] > 1.5 * delays[0]
    assert delays[2] > 1.5 * delays[1]


def test_silent_child_hangs_and_can_be_killed(make_child):
    child = make_child("silent", silence_s=0.2)
    wait_for_report(child, "ready")
    deadline = time.monotonic() + 30
    while not child.hangs():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill_hung()
    until_dead(child)
    assert re.fullmatch(r"it made no progress for \d+ s: killed by SIGKILL", child.describe_exit())


def silence_at_hang(child: Child) -> float:
    deadline = time.monotonic() + 60
    while not child.hangs():
        assert time.monotonic() < deadline
        child.take_messages()
        time.sleep(0.01)
    return child.silence_s()


def test_a_child_that_computes_has_more_time(make_child):
    child = make_child("busy", silence_s=0.5, busy_s=1.5)
    wait_for_report(child, "ready")
    assert 1.5 <= silence_at_hang(child) < 30


def test_a_child_that_is_stopped_while_it_computes_hangs(make_child):
    child = make_child("busy", silence_s=1.0, busy_s=600.0)
    wait_for_report(child, "ready")
    while child.silence_s() < 1.5:
        assert not child.hangs()
        time.sleep(0.01)
    (process,) = [one for one in psutil.Process().children() if one.name() == "test:busy"]
    process.suspend()
    assert silence_at_hang(child) < 60


def test_a_child_with_slow_steps_has_the_time_of_twenty(make_child):
    child = make_child("slow steps", silence_s=0.2)
    wait_for_report(child, "ready")
    assert 2.0 <= silence_at_hang(child) < 30


def test_the_error_that_ended_a_child_is_named_without_secrets(make_child):
    child = make_child("bug")
    until_dead(child)
    assert re.fullmatch(r"ValueError: rtsp://.*10.0.0.1/x is no number: exit code 1", child.describe_exit())
    assert "hunter2" not in child.describe_exit()


def test_deaf_child_is_killed(make_child):
    child = make_child("deaf")
    wait_for_report(child, "ready")
    child.request_stop()
    child.terminate()
    wait([child.sentinel], timeout=0.5)
    assert child.alive()
    child.kill()
    assert not child.alive()


def test_error_that_no_restart_mends_is_fatal(make_child):
    child = make_child("model")
    assert wait_for_report(child, "fatal") == "model 'x' is unknown: did you mean 'y'?"
    until_dead(child)
    assert child.describe_exit() == "exit code 3"


def test_error_that_a_restart_may_mend_is_not_fatal(make_child):
    child = make_child("source")
    wait([child.sentinel], timeout=60)
    assert all(report.kind != "fatal" for report in child.take_messages())
    until_dead(child)
    assert child.describe_exit() == "a fault that a restart may mend: exit code 4"


def test_signal_without_a_name_is_described(make_child):
    child = make_child("signal 40")
    until_dead(child)
    assert child.describe_exit() == "killed by signal 40"


def test_retired_child_is_neither_restarted_nor_waited_for(make_child):
    child = make_child("obeys")
    wait_for_report(child, "ready")
    child.retire()
    child.request_stop()
    wait([child.sentinel], timeout=60)
    deadline = time.monotonic() + 10
    while child.alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert not child.died()
    assert not child.restart_due()
    child.reap()
    assert child.waitables() == []  # a dead process's sentinel is always ready: waiting for it would spin


def test_silence_can_be_reset(make_child):
    child = make_child("silent", silence_s=0.2)
    wait_for_report(child, "ready")
    deadline = time.monotonic() + 30
    while not child.hangs():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.reset_silence()
    assert child.silence_s() < 0.2


def test_ctrl_c_before_the_child_listens_does_not_reach_it(make_child):
    child = make_child("obeys")
    os.kill(next(p.pid for p in psutil.Process().children()), signal.SIGINT)
    wait_for_report(child, "ready")
    assert child.alive()


@pytest.mark.parametrize("behavior", ["obeys", "deaf"])
def test_a_planned_restart_is_immediate_and_not_counted(make_child, behavior):
    child = make_child(behavior)
    wait_for_report(child, "ready")
    (before,) = [process for process in psutil.Process().children() if process.name() == f"test:{behavior}"]
    child.stop_for_restart()
    assert child.state == "restarting"
    deadline = time.monotonic() + 30
    while not child.planned_restart_due():
        assert time.monotonic() < deadline
        assert not child.died()
        child.take_messages()
        time.sleep(0.01)
    assert not before.is_running()
    child.start()
    wait_for_report(child, "ready")
    assert (child.restarts, child.failed_starts) == (0, 0)
    assert not child.planned_restart_due()


def test_messages_of_a_child_that_stops_for_a_restart_are_ignored(make_child):
    child = make_child("obeys")
    child.stop_for_restart()  # before it was ready
    wait([child.sentinel], timeout=60)
    assert child.take_messages() == []
    assert child.state == "restarting"


def test_a_child_does_not_run_the_script_that_started_the_daemon(tmp_path):
    script = tmp_path / "starts_a_child.py"
    script.write_text(
        """
from multiprocessing.connection import wait
from streamseg.daemon import stall_watch
from streamseg.daemon.child import Child
from streamseg.daemon.process_table import ProcessEntry
from streamseg.daemon.stall_watch import StallWatch

print("the script runs", flush=True)
child = Child(ProcessEntry("test:obeys", "tests.daemon.child_mains", ("obeys",), 60.0, 30.0))
child.start()
while not child.take_messages() and child.alive():
    wait(child.waitables(), timeout=60)
print(child.state)
child.kill()
"""
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.returncode) == ("the script runs\nready\n", 0), done.stderr


@pytest.mark.parametrize(("behavior", "ready_s"), [("slow start", 1.0), ("start with a compiler", 1.0)])
def test_a_slow_start_that_computes_is_not_a_hang(make_child, behavior, ready_s):
    child = make_child(behavior, ready_s=ready_s)
    deadline = time.monotonic() + 60
    while child.state != "ready":
        assert time.monotonic() < deadline
        assert not child.hangs()
        wait(child.waitables(), timeout=0.1)
        child.take_messages()


def test_the_end_of_a_descendant_is_not_a_hang(monkeypatch):
    """What it waited for a CPU is no longer counted then, so that the sum falls."""
    sums = iter([10.0, 9.0, 9.01])
    monkeypatch.setattr(stall_watch, "active_s", lambda pid: next(sums))
    watch = StallWatch(ProcessEntry("test", "tests.daemon.child_mains", (), 0.0, 0.0, 600.0), os.getpid())
    assert not watch.hangs(ready=True)  # it is measured
    assert not watch.hangs(ready=True)
    assert watch.hangs(ready=True)


def test_a_process_that_sends_messages_is_not_measured(monkeypatch):
    """A measurement reads several files of /proc, and every process sends a message each second."""
    measured = []
    monkeypatch.setattr(stall_watch, "active_s", lambda pid: measured.append(pid) or 0.0)
    watch = StallWatch(ProcessEntry("test", "tests.daemon.child_mains", (), 600.0, 600.0, 0.0), os.getpid())
    for _ in range(10):
        watch.heard(0.1)
        assert not watch.hangs(ready=True)
    assert measured == []


def test_a_killed_process_hangs_until_it_has_ended(make_child, monkeypatch):
    """One that waits for a disk survives SIGKILL for a while: here, the signal is not sent."""
    child = make_child("silent", silence_s=0.0)
    wait_for_report(child, "ready")
    os.kill(child._process.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while not child.hangs():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with monkeypatch.context() as patched:
        patched.setattr(child._process, "kill", lambda: None)
        child.kill_hung()
    assert child.killed
    assert child.hangs()


def test_a_start_that_does_nothing_is_a_hang(make_child):
    child = make_child("stuck start", ready_s=3.0)
    deadline = time.monotonic() + 120
    while not child.hangs():  # its imports compute
        assert time.monotonic() < deadline
        child.take_messages()
        time.sleep(0.05)


def test_invalid_messages_from_a_child_do_no_harm(make_child):
    child = make_child("nonsense")
    deadline = time.monotonic() + 60
    while len(child.waitables()) > 1:
        assert time.monotonic() < deadline
        wait(child.waitables(), timeout=0.1)
        assert child.take_messages() == []


def test_a_child_that_cannot_be_started_is_tried_again(make_child):
    child = make_child("obeys")
    wait_for_report(child, "ready")
    child.kill()
    child.take_messages()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        child.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert child.state == "restarting"
    deadline = time.monotonic() + 30
    while not child.restart_due():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.start()
    wait_for_report(child, "ready")
