"""The soak notices what it looks for, and a short fault run passes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from soak_leaks import LeakRecord, mb_per_100k, own_mb
from soak_watcher import Watcher

from streamseg.client import EventMessage
from tests.bench.test_bench import BENCH, run


def rows(growth_mb: float, descriptors: int = 0) -> list[tuple[float, int, float, int]]:
    """Samples of 100,000 frames: noise of some MB, an outlier, and growth."""
    noise = np.random.default_rng(0).normal(0, 0.5, 101)
    noise[50] = 300
    return [
        (float(n), 1000 * n, 100 + noise[n] + growth_mb * n / 100, 20 + n * descriptors // 100 + n % 3)
        for n in range(101)
    ]


def test_growth_is_distinguished_from_noise() -> None:
    assert abs(mb_per_100k(np.array(rows(0)))) < 0.5
    assert abs(mb_per_100k(np.array(rows(5))) - 5) < 0.5


def test_a_leak_of_each_kind_is_named() -> None:
    record = LeakRecord(
        {"worker 1": rows(3), "web 2": rows(0, descriptors=10), "control 3": rows(0)}, restarts={"web": 2}
    )
    memory, descriptors, restarts = record.faults()
    assert memory.startswith("worker 1 grows by")
    assert descriptors.startswith("web 2 holds")
    assert restarts == "web was restarted 2 times"
    assert LeakRecord({"worker 1": rows(0)}, restarts={"capture:door": 40}).faults() == []


def test_own_memory_of_a_process_excludes_pages_of_files() -> None:
    code = "held = bytearray(b'x') * 50_000_000; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 50 < own_mb(process.pid) < 80
        process.kill()


def event(publisher: str, seq: int) -> EventMessage:
    fields: dict[str, Any] = {"session": "s", "t_wall_ns": 0, "epoch": 0, "frame": None, "object": None, "label": ""}
    return EventMessage(stream="a", publisher=publisher, seq=seq, event="restored", detail="", **fields)


def test_lost_events_are_named() -> None:
    watcher = Watcher("ipc:///nowhere", 10)
    watcher.events = [event("one", 7), event("one", 8), event("two", 0), event("two", 1)]
    assert watcher.lost_events() == []
    watcher.events = [event("one", 7), event("one", 9), event("two", 1)]
    assert watcher.lost_events() == ["a: events 8 to 8 before restored", "a: events 0 to 0 before restored"]


@pytest.mark.long
def test_a_short_fault_run_passes() -> None:
    said = run(BENCH / "soak.py", "faults", "--minutes", 0.5, "--undisturbed", 0.1, "--seed", 1)
    assert "FAILED" not in said
    assert "kill" in said
