"""Installing into a folder, as for a system image: everything but starting it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from streamseg.config.load import load_config
from streamseg.errors import ConfigError, ServiceError
from streamseg.service.install import left_behind, plan_install, plan_uninstall
from streamseg.service.layout import ServiceLayout, system_layout, user_layout

pytestmark = pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs Debian's systemd")
CONFIG = "model: {name: color}\nstreams: {cam: {source: 'scene:simple'}}\n"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceLayout:
    if os.geteuid() == 0:
        return system_layout("streamseg", tmp_path / "root")
    monkeypatch.setenv("HOME", "/home/user")
    return user_layout("streamseg", tmp_path / "root")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(CONFIG)
    return path


def install(layout: ServiceLayout, config: Path | None, **more: bool) -> list[str]:
    steps = plan_install(layout, config, **more)
    for step in steps:
        step.do()
    return [step.text for step in steps]


def files(layout: ServiceLayout) -> set[str]:
    return {str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file()}


def test_the_plan_is_installed_and_a_second_run_changes_nothing(layout: ServiceLayout, config: Path) -> None:
    said = install(layout, config)
    assert layout.at_root(layout.config).read_text() == CONFIG
    assert layout.at_root(layout.environment).stat().st_mode & 0o777 == 0o600
    assert layout.at_root(layout.config).stat().st_mode & 0o777 == 0o640
    assert any(layout.unit in text and "enable" in text for text in said)
    before = {path: layout.root.joinpath(path).stat().st_mtime_ns for path in files(layout)}
    assert install(layout, config) == []
    assert {path: layout.root.joinpath(path).stat().st_mtime_ns for path in files(layout)} == before


def test_without_a_configuration_it_waits_for_cameras(layout: ServiceLayout) -> None:
    install(layout, None)
    settings = load_config(layout.at_root(layout.config))
    assert (settings.streams, settings.http.listen) == ({}, "127.0.0.1:8080")


def test_another_configuration_is_not_overwritten(layout: ServiceLayout, config: Path) -> None:
    install(layout, config)
    config.write_text(CONFIG.replace("simple", "leave"))
    with pytest.raises(ServiceError, match=r"holds another configuration.*--replace"):
        plan_install(layout, config)
    install(layout, config, replace=True)
    target = layout.at_root(layout.config)
    assert "leave" in target.read_text()
    assert target.with_name(f"{target.name}.old").read_text() == CONFIG


def test_a_model_of_the_hub_is_pulled_into_the_state_of_the_service(layout: ServiceLayout, config: Path) -> None:
    config.write_text(CONFIG.replace("color", "me/mine"))
    folder = layout.at_root(layout.state / "huggingface")
    assert f"pull me/mine into {folder}" in [step.text for step in plan_install(layout, config)]
    (folder / "hub" / "models--me--mine").mkdir(parents=True)
    assert not [step.text for step in plan_install(layout, config) if step.text.startswith("pull")]


def test_an_edited_environment_is_kept(layout: ServiceLayout, config: Path) -> None:
    install(layout, config)
    layout.at_root(layout.environment).write_text("CAM_PASSWORD=secret\n")
    install(layout, config)
    assert layout.at_root(layout.environment).read_text() == "CAM_PASSWORD=secret\n"


def test_relative_paths_are_refused(layout: ServiceLayout, config: Path) -> None:
    (config.parent / "clip.mp4").write_bytes(b"")
    config.write_text(CONFIG.replace("scene:simple", "clip.mp4"))
    with pytest.raises(ConfigError) as caught:
        plan_install(layout, config)
    assert str(caught.value) == (
        f"{config} has relative paths, which change when it moves to {layout.at_root(layout.config)}:\n"
        f"  line 2: streams.cam.source: 'clip.mp4' is relative: write '{config.parent}/clip.mp4'"
    )


def test_an_invalid_configuration_changes_nothing(layout: ServiceLayout, config: Path) -> None:
    config.write_text("streams: {cam: {source: 'scn:simple'}}\n")
    with pytest.raises(ConfigError, match="did you mean"):
        plan_install(layout, config)
    assert not layout.root.exists()


def test_planning_changes_nothing(layout: ServiceLayout, config: Path) -> None:
    assert len(plan_install(layout, config)) > 4
    assert not layout.root.exists()


def test_uninstalling_leaves_what_the_user_has_unless_purged(layout: ServiceLayout, config: Path) -> None:
    install(layout, config)
    for step in plan_uninstall(layout, purge=False):
        step.do()
    assert not layout.at_root(layout.unit_file).exists()
    assert layout.at_root(layout.config).read_text() == CONFIG
    assert layout.config_folder in left_behind(layout)
    assert plan_uninstall(layout, purge=False) == []
    install(layout, None)
    assert layout.at_root(layout.config).read_text() == CONFIG
    for step in plan_uninstall(layout, purge=True):
        step.do()
    assert left_behind(layout) == []


def test_instances_share_a_template_until_the_last_is_gone(layout: ServiceLayout, config: Path) -> None:
    make = system_layout if layout.scope == "system" else user_layout
    one, other = make("yard", layout.root), make("door", layout.root)
    install(one, config)
    install(other, config)
    assert (one.unit, one.unit_file) == ("streamseg@yard.service", other.unit_file)
    for step in plan_uninstall(one, purge=True):
        step.do()
    assert other.at_root(other.unit_file).exists()
    assert other.at_root(other.config).exists()
    assert not one.at_root(one.config).exists()
    for step in plan_uninstall(other, purge=True):
        step.do()
    assert not other.at_root(other.unit_file).exists()


def test_the_template_goes_with_its_last_instance(layout: ServiceLayout, config: Path) -> None:
    """The service without a name has a unit of its own, so its configuration does not keep the template."""
    yard = (system_layout if layout.scope == "system" else user_layout)("yard", layout.root)
    install(layout, config)
    install(yard, config)
    for one in (layout, yard):
        for step in plan_uninstall(one, purge=one is yard):
            step.do()
    assert not yard.at_root(yard.unit_file).exists()
    assert layout.at_root(layout.config).exists()


def test_a_user_s_service_is_enabled_below_a_folder(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/someone/.config")
    user = user_layout("yard", tmp_path / "root")
    install(user, config)
    link = user.at_root(user.unit_folder) / "default.target.wants/streamseg@yard.service"
    assert link.readlink() == user.unit_file
    assert install(user, config) == []
    for step in plan_uninstall(user, purge=True):
        step.do()
    assert not link.is_symlink()
    assert not files(user)
