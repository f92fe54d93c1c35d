"""Ends all ranks of a run when one of them ends early: the others would wait for it without end.

A timeout cannot do this, because a run may be paused for days.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

# Polled, because a rank's data loaders inherit the pipes by which multiprocessing notices its end.
_PERIOD_S = 1.0
# A lost connection fails before the process at its other end is gone.
_GRACE_S = 10.0


class OtherRanks:
    """The processes of ranks 1, 2, ..., watched by rank 0.

    Args:
        processes: They have been started.
        out: Folder of the run; its log gets the reason of an early end.
    """

    def __init__(self, processes: Sequence[BaseProcess], out: Path) -> None:
        self._processes = processes
        self._out = out
        self._ending = threading.Lock()  # never released: only the first reason counts
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def join(self) -> None:
        """Block until all have ended. Does not return if one failed."""
        self._watcher.join()

    def end_after(self, error: BaseException) -> NoReturn:
        """End all ranks after an error in this one. If another rank ends within seconds, that is the reason."""
        self._watcher.join(_GRACE_S)
        self._end(f"rank 0 ended: {error!r}")

    def _watch(self) -> None:
        codes: list[int | None] = [None]
        while None in codes:
            codes = [process.exitcode for process in self._processes]
            for rank, code in enumerate(codes, 1):
                if code:
                    self._end(f"rank {rank} ended: exit code {code}")
            time.sleep(_PERIOD_S)

    def _end(self, reason: str) -> NoReturn:
        self._ending.acquire()
        _log(self._out, reason)
        for process in self._processes:
            process.kill()  # SIGTERM means: stop after the current step
        os._exit(1)  # the main thread may be waiting for a rank


def end_with_rank_0(rank: int, out: Path) -> None:
    """End this process, a child of rank 0, when rank 0 ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # Not getppid() here: rank 0 may have been killed while this process imported its modules.
    rank_0 = parent.pid

    def watch() -> None:
        while os.getppid() == rank_0:
            time.sleep(_PERIOD_S)
        if rank == 1:  # once is enough
            _log(out, "rank 0 ended: killed")
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _log(out: Path, reason: str) -> None:
    print(f"{reason}; all ranks end", file=sys.stderr, flush=True)
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps({"event": "ended", "reason": reason}) + "\n")
