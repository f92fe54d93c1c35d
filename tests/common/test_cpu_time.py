"""CPU time of a process and its descendants."""

from __future__ import annotations

import os
import subprocess
import sys

from streamseg.common.cpu_time import active_s

COMPUTES = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"


def test_cpu_time_includes_a_living_child() -> None:
    before = active_s(os.getpid(), waiting=False)
    with subprocess.Popen([sys.executable, "-c", COMPUTES], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert active_s(child.pid, waiting=False) > 0.2
        assert active_s(os.getpid(), waiting=False) > before + 0.2
        child.communicate(b"\n")
    assert active_s(child.pid) == 0.0
