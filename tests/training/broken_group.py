"""A group of two ranks, one of which does not last: ``python -m tests.training.broken_group OUT HOW``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from training.ranks import Ranks, run_ranks


class EndsWhenUnpickled:
    """Ends the process that reads it, as if it ran out of memory while it starts."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)


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
    given = {"poison": EndsWhenUnpickled()} if how == "end at the start" else {}
    # By its full name: the other rank imports it.
    from tests.training import broken_group

    run_ranks(broken_group.train, argparse.Namespace(out=Path(out), how=how, **given), 2)
