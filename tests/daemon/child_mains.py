"""The ``main`` of the child under test; its first argument says what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection

from streamseg.errors import ModelError, SourceError
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report


def main(behavior: str, connection: Connection) -> None:
    link = ChildLink(connection)
    link.attach()
    match behavior:
        case "obeys":
            link.send(Report("ready"))
            while not link.stop_requested(1.0):
                link.send(Report("progress"))
        case "deaf":  # neither the word nor SIGTERM ends it
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            link.send(Report("ready"))
            while True:
                time.sleep(10)
        case "silent":
            link.send(Report("ready"))
            while not link.stop_requested(60.0):
                pass
        case "busy":
            link.send(Report("ready"))
            while True:
                pass
        case "slow steps":
            link.send(Report("ready", step_s=0.1))
            time.sleep(600)
        case "slow start":  # imports for long, in silence
            until = time.monotonic() + 2.0
            while time.monotonic() < until:
                pass
            link.send(Report("ready"))
            while not link.stop_requested(1.0):
                link.send(Report("progress"))
        case "start with a compiler":  # a thread starts it; the main thread only waits
            busy = "import time\nuntil = time.monotonic() + 2.0\nwhile time.monotonic() < until: pass"
            compiler = threading.Thread(target=subprocess.run, args=([sys.executable, "-c", busy],))
            compiler.start()
            compiler.join()
            link.send(Report("ready"))
            while not link.stop_requested(1.0):
                link.send(Report("progress"))
        case "stuck start":
            time.sleep(600)
        case "nonsense":
            connection.send_bytes(b"no pickle")
            time.sleep(600)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "signal 40":
            os.kill(os.getpid(), 40)
        case "model":
            raise ModelError("model 'x' is unknown: did you mean 'y'?")
        case "source":
            raise SourceError("a fault that a restart may mend")
        case "bug":
            raise ValueError("rtsp://admin:hunter2@10.0.0.1/x is no number")
