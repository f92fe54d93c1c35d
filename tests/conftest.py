"""Tests that run side by side, and the daemons that they start, compute with one thread each."""

import os

# Here, before anything imports torch: threads of two processes on the same cores wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.servers.fixtures"]
