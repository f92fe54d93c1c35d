"""Tests that run side by side, and the daemons that they start, compute with one thread each."""

import os

# Here, before anything imports torch: threads of two processes on the same cores wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.servers.fixtures"]


def pytest_xdist_auto_num_workers() -> int:
    """Return how many tests run side by side: two for each core, since half of them wait for other processes.

    At most four: each imports torch and has its own daemons.
    """
    return min(2 * len(os.sched_getaffinity(0)), 4)
