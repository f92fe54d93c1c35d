"""The life cycle of an installed service, run by test_user_manager.py under a private user manager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

HOME = Path(os.environ["HOME"])
UNIT = "streamseg.service"
CONFIG = f"""
model: {{name: color}}
publish: {{endpoints: ["ipc://{HOME}/pub"]}}
streams:
  cam: {{source: "scene:simple?size=160x90", prompts: [{{object: 1, points: [[40, 27]]}}]}}
"""


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def streamseg(*words: str) -> str:
    return run(str(Path(sys.executable).with_name("streamseg")), *words)


def shown(name: str) -> str:
    return run("systemctl", "--user", "show", "--property", name, "--value", UNIT).strip()


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 90) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        status = run("systemctl", "--user", "status", "--no-pager", UNIT, check=False)
        assert time.monotonic() < until, f"not seen: {what}\n{status}"
        time.sleep(0.1)  # systemd has no call that waits for a property


def daemon() -> psutil.Process:
    return psutil.Process(int(shown("MainPID")))


def worker_pid() -> int:
    return next((child.pid for child in daemon().children() if child.name() == "worker"), 0)


def main() -> None:
    (HOME / "cameras.yaml").write_text(CONFIG)
    override = HOME / ".config/systemd/user" / f"{UNIT}.d" / "test.conf"
    override.parent.mkdir(parents=True)
    override.write_text("[Service]\nWatchdogSec=8\nRestartSec=1\n")

    said = streamseg("service", "install", "--user", "--config", str(HOME / "cameras.yaml"))
    assert f"systemctl --user start {UNIT}" in said, said
    # `systemctl start` of a unit of Type=notify returns when it is ready.
    assert shown("ActiveState") == "active"
    assert run("systemctl", "--user", "is-enabled", UNIT).strip() == "enabled"
    wait_for(lambda: "1 camera, 1 object" in shown("StatusText"), "the status line")
    assert "nothing to do" in streamseg("service", "install", "--user", "--config", str(HOME / "cameras.yaml"))
    control = f"ipc://{os.environ['XDG_RUNTIME_DIR']}/streamseg/streamseg-control"
    # The control process hears of the streams once a second, so that its first answer may come before.
    wait_for(lambda: "cam" in streamseg("status", "--control", control), "the stream in `streamseg status`")

    main_pid, old_worker = daemon().pid, worker_pid()
    os.kill(old_worker, signal.SIGKILL)
    wait_for(lambda: worker_pid() not in (0, old_worker), "another worker")
    wait_for(lambda: "not ready" not in shown("StatusText"), "the new worker is ready")
    assert daemon().pid == main_pid, "a worker's death must not restart the service"

    installed = HOME / ".config/streamseg/streamseg.yaml"
    installed.write_text(CONFIG + '  yard: {source: "scene:simple?size=160x90"}\n')
    run("systemctl", "--user", "reload", UNIT)
    wait_for(lambda: "2 cameras" in shown("StatusText"), "the reloaded configuration")
    assert daemon().pid == main_pid

    os.kill(main_pid, signal.SIGSTOP)
    wait_for(lambda: shown("NRestarts") == "1" and shown("ActiveState") == "active", "the watchdog's restart")
    assert daemon().pid != main_pid
    wait_for(lambda: "2 cameras" in shown("StatusText"), "the restarted daemon")

    family = daemon().children(recursive=True)
    began = time.monotonic()
    said = streamseg("service", "uninstall", "--user")
    assert time.monotonic() - began < 20
    assert f"left: {installed.parent}" in said, said
    assert shown("ActiveState") in ("inactive", "failed")
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert installed.exists()


if __name__ == "__main__":
    main()
