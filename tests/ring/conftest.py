from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import pytest

from streamseg.ring.frame_ring import FrameRing, Policy

MIB = 1024 * 1024


@pytest.fixture
def make_ring() -> Iterator[Callable[..., FrameRing]]:
    rings: list[FrameRing] = []

    def make(policy: Policy = "newest", slots: int = 4, slot_bytes: int = 2 * MIB) -> FrameRing:
        rings.append(FrameRing(policy=policy, slots=slots, slot_bytes=slot_bytes))
        return rings[-1]

    yield make
    for ring in rings:
        ring.close()


@pytest.fixture
def spawn() -> Iterator[Callable[..., tuple[SpawnProcess, Connection]]]:
    """Starts ``target(ring, pipe end, *args)`` in a new process; returns the process and the other end."""
    context = multiprocessing.get_context("spawn")
    started: list[tuple[SpawnProcess, Connection]] = []

    def start(target: Callable[..., None], ring: FrameRing, *args: object) -> tuple[SpawnProcess, Connection]:
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(ring, theirs, *args), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
        return process, ours

    yield start
    for process, ours in started:
        process.kill()
        process.join(30)
        process.close()
        ours.close()
