"""The system's unit with all its hardening around a real worker, run by test_user_manager.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from streamseg.client import Subscriber
from streamseg.service.layout import ServiceLayout
from streamseg.service.unit import SYSTEM_USER, render_unit
from tests.service.service_life import HOME, UNIT, daemon, run, shown

RUNTIME = Path(os.environ["XDG_RUNTIME_DIR"]) / "streamseg"
# Where a user manager puts the folders that the unit asks for.
LAYOUT = ServiceLayout(
    scope="system",
    instance="streamseg",
    root=Path("/"),
    unit_folder=HOME / ".config/systemd/user",
    config_folder=HOME / "etc",
    state=HOME / ".config/streamseg",
    cache=HOME / ".cache/streamseg",
    runtime=RUNTIME,
)
CONFIG = f"""
model: MODEL
publish: {{endpoints: ["ipc://{RUNTIME}/pub"]}}
streams:
  cam: {{source: "scene:simple?size=320x180&fps=2", prompts: [{{object: 1, points: [[80, 54]]}}]}}
"""
MODELS = {"color": "{name: color}", "nano": "{name: nano, image_size: 128, threads: 1}"}
# The tests' own Python may be installed in a home folder, which the service may not see.
OVERRIDE = f"""
[Service]
ProtectHome=tmpfs
BindReadOnlyPaths={sys.base_prefix}
StandardError=append:{HOME}/log
"""


def proc_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def wait_for_openvino() -> None:
    """Wait until the converter has ended and the worker tracks with what it made."""
    with Subscriber(f"ipc://{RUNTIME}/pub", kinds=("status",), streams=["_daemon"], timeout_s=120) as statuses:
        for status in statuses:
            engine = status.engine
            if "convert" not in engine and engine not in ("eager", "eager (loading)"):
                break
    assert engine == "openvino"
    assert list((LAYOUT.cache / "openvino").iterdir()), "nothing was kept for the next start"
    with Subscriber(f"ipc://{RUNTIME}/pub", kinds=("masks",), timeout_s=120) as masks:
        assert masks.receive().objects


def main(model: str) -> None:
    LAYOUT.config_folder.mkdir()
    LAYOUT.config.write_text(CONFIG.replace("MODEL", MODELS[model]))
    LAYOUT.unit_folder.mkdir(parents=True)
    LAYOUT.unit_file.write_text(render_unit(LAYOUT, Path(sys.executable).with_name("streamseg")))
    override = LAYOUT.unit_folder / f"{UNIT}.d" / "test.conf"
    override.parent.mkdir()
    override.write_text(OVERRIDE)
    run("systemctl", "--user", "daemon-reload")
    run("systemctl", "--user", "start", UNIT)

    for process in (daemon(), *daemon().children(recursive=True)):
        status = proc_status(process.pid)
        assert process.username() == SYSTEM_USER, process
        assert int(status["CapEff"], 16) == 0, process
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), process

    with Subscriber(f"ipc://{RUNTIME}/pub", kinds=("masks",), timeout_s=120) as masks:
        assert masks.receive().objects
    if model == "nano":
        wait_for_openvino()
    assert shown("NRestarts") == "0"

    run("systemctl", "--user", "stop", UNIT)
    assert shown("Result") == "success"
    assert not RUNTIME.exists()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException:
        print(run("systemctl", "--user", "status", "--no-pager", UNIT, check=False), file=sys.stderr)
        log = HOME / "log"
        print(log.read_text()[-3000:] if log.exists() else "no log", file=sys.stderr)
        raise
