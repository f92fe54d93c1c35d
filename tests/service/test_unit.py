"""The unit as systemd reads it; nothing is started."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from streamseg.service.layout import system_layout, user_layout
from streamseg.service.unit import packaged_units, render_unit

ROOT = Path(__file__).parents[2]
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs Debian's systemd")


def directive(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


def test_the_repository_holds_the_units_that_are_written() -> None:
    held = {path.name: path.read_text() for path in (ROOT / "systemd").glob("*.service")}
    assert held == packaged_units(), "run `python -m streamseg.service systemd`"


@needs_systemd
@pytest.mark.parametrize("name", ["streamseg.service", "streamseg@cameras.service"])
def test_systemd_verifies_the_unit_without_a_warning(name: str, tmp_path: Path) -> None:
    # `verify` exits with 0 even for misspelled directives: it only prints them.
    for file, text in packaged_units().items():
        (tmp_path / file).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    if "@" in name:
        (tmp_path / "streamseg@.service").rename(tmp_path / name)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", ["streamseg.service", "streamseg@.service"])
def test_exposure_is_2_or_less(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(ROOT / "systemd" / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-400:]


def test_exit_codes_that_would_fail_again_do_not_restart() -> None:
    unit = packaged_units()["streamseg.service"]
    assert directive(unit, "Restart") == ["on-failure"]
    assert directive(unit, "RestartPreventExitStatus") == ["2 3"]


def test_instances_share_nothing_but_models_and_cache() -> None:
    one, template = packaged_units().values()
    assert directive(one, "RuntimeDirectory") == ["streamseg"]
    assert directive(template, "RuntimeDirectory") == ["streamseg-%i"]
    assert "/etc/streamseg/%i.yaml" in directive(template, "ExecStart")[0]


def test_paths_are_quoted_for_systemd() -> None:
    layout = system_layout("streamseg")
    unit = render_unit(layout, Path("/opt/my apps/100%/$x/streamseg"))
    assert directive(unit, "ExecStart")[0].startswith('"/opt/my apps/100%%/$$x/streamseg" run ')


def test_a_user_s_unit_stays_in_its_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    layout = user_layout("streamseg")
    assert layout.unit_folder == tmp_path / ".config/systemd/user"
    unit = render_unit(layout, Path("/x/streamseg"))
    assert directive(unit, "User") == []
    assert directive(unit, "WantedBy") == ["default.target"]
    assert f"STREAMSEG_MODELS={tmp_path}/.local/state/streamseg/models" in directive(unit, "Environment")[0]
