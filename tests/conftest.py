"""Tests run in parallel; they and the daemons that they start compute with one thread each."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import uuid

import psutil
import pytest
from hypothesis import settings

_SESSION = "STREAMSEG_TEST_SESSION"
# Inherited by all processes that the tests start, which is how leftover ones are found.
os.environ.setdefault(_SESSION, uuid.uuid4().hex)

# A run has hundreds of processes. Without compiled files each compiles the package again, and pytest rewrites all tests
# again in each of its workers: seconds of CPU each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Daemons keep state for each configuration file. That of the tests stays out of the home folder.
_STATE = tempfile.TemporaryDirectory(prefix="streamseg-test-state-")
os.environ["XDG_STATE_HOME"] = _STATE.name

# Before anything imports torch: threads of two processes on the same cores wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # The workers of daemons choose their own number of threads, which must not spin while others compute.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The duration of an example depends on the machine more than on the code.
settings.register_profile("streamseg", deadline=None)
settings.load_profile("streamseg")

pytest_plugins = ["tests.servers.fixtures", "tests.made_once", "tests.key_files", "tests.nano_networks"]


def pytest_xdist_auto_num_workers() -> int:
    """Return how many tests run in parallel: two per core, since most wait for other processes.

    At most four: each imports torch and has its own daemons.
    """
    return min(2 * len(os.sched_getaffinity(0)), 4)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of garbage collections: it lives as long as the process."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a process that a test started outlives it.

    Checked after the workers of pytest-xdist have ended, together with multiprocessing's helper processes.
    """
    if not session.config.pluginmanager.hasplugin("dsession"):
        return
    _, left = psutil.wait_procs(_processes_of_this_run(), timeout=15)
    for process in left:
        print(f"\nleft over by a test: {process}")
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _processes_of_this_run() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(_SESSION) == os.environ[_SESSION]:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
