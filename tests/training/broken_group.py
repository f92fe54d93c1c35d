"""A group of two ranks, one of which does not last: ``python -m tests.training.broken_group OUT HOW``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from training.ranks import Ranks, run_ranks


class EndsWhenUnpickled:
    """Ends the process that reads it, as if it ran out of memory while it starts."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)


class KillsRank0:
    """Kills rank 0 while the process that reads it starts."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return kill_rank_0, (self.out,)


def kill_rank_0(out: Path) -> None:
    (out / "pid1").write_text(str(os.getpid()))
    rank_0 = os.getppid()
    os.kill(rank_0, signal.SIGKILL)
    while os.getppid() == rank_0:
        time.sleep(0.01)


def train(options: argparse.Namespace, ranks: Ranks) -> None:
    (options.out / f"pid{ranks.rank}").write_text(str(os.getpid()))
    ranks.mean(0.0)  # both have written it
    if options.how == f"kill {ranks.rank}":
        os.kill(os.getpid(), signal.SIGKILL)
    if options.how == f"raise {ranks.rank}":
        raise ValueError("no such picture")
    threading.Event().wait()  # as in a long step


if __name__ == "__main__":
    out, how = sys.argv[1:]
    # By its full name: the other rank imports it.
    from tests.training import broken_group

    poison: dict[str, object] = {
        "end at the start": EndsWhenUnpickled(),
        "kill 0 at the start": broken_group.KillsRank0(Path(out)),
    }
    given = {"poison": poison[how]} if how in poison else {}
    run_ranks(broken_group.train, argparse.Namespace(out=Path(out), how=how, **given), 2)
