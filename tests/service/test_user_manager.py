"""A real service manager installs, starts, watches, reloads and stops the service, in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMESPACES = ("unshare", "--pid", "--fork", "--mount", "--cgroup", "--ipc", "--uts", "--net", "--kill-child")
MANAGER = Path("/lib/systemd/systemd")


def missing() -> str | None:
    """Return why no private manager can run here."""
    if not MANAGER.exists() or shutil.which("unshare") is None:
        return "needs Debian's systemd and util-linux"
    allowed = subprocess.run([*NAMESPACES, "true"], capture_output=True, timeout=20, check=False)
    return None if allowed.returncode == 0 else "namespaces are not allowed here"


def run_under_a_manager(*words: str) -> None:
    """Run a module of this folder under a private user manager."""
    if (reason := missing()) is not None:
        if os.environ.get("STREAMSEG_REQUIRE_SYSTEMD") == "1":
            pytest.fail(f"STREAMSEG_REQUIRE_SYSTEMD=1, but: {reason}")
        pytest.skip(reason)
    command = [*NAMESPACES, "bash", str(HERE / "user_manager.sh"), sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=390, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


@pytest.mark.slow
def test_the_life_of_an_installed_service() -> None:
    run_under_a_manager("tests.service.service_life")


@pytest.mark.slow
def test_the_hardened_unit_lets_a_daemon_work() -> None:
    run_under_a_manager("tests.service.hardened_life", "color")


@pytest.mark.long
def test_the_hardened_unit_lets_openvino_convert_and_run_a_model() -> None:
    run_under_a_manager("tests.service.hardened_life", "nano")
