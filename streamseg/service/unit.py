"""The systemd unit of the service.

``systemd/`` in the repository holds the system's units as this module writes them, for packagers; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamseg.service.layout import DEFAULT_INSTANCE, ServiceLayout, system_layout

SYSTEM_USER: Final = "streamseg"
"""The user that the system's service runs as."""

SYSUSERS: Final = f'u {SYSTEM_USER} - "streamseg video segmentation" /var/lib/streamseg\n'
"""Declares that user to ``systemd-sysusers``."""

_HARDENING: Final = """
# What the daemon may do. `systemd-analyze security` rates the unit; a test holds it at 2.0 or less.
# MemoryDenyWriteExecute and PrivateDevices are left out: CUDA, torch's compiler and cameras need what they forbid.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
KeyringMode=private
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
DeviceAllow=char-nvidia-uvm rw
DeviceAllow=char-drm rw
DeviceAllow=char-video4linux rw
"""

_USER_HARDENING: Final = """
# A user's service manager cannot do more without privileges.
NoNewPrivileges=yes
"""


def render_unit(layout: ServiceLayout, executable: Path, groups: Sequence[str] = ("video",)) -> str:
    """Return the text of the unit file; for an instance, of the template that all instances share.

    Args:
        layout: Layout of the instance.
        executable: The installed ``streamseg``.
        groups: Groups of the machine that may open cameras and GPUs; a missing one would keep the service down.
    """
    template = layout.instance != DEFAULT_INSTANCE
    name = "%i" if template else layout.instance
    folder = "streamseg-%i" if template else "streamseg"
    system = layout.scope == "system"
    config = layout.config_folder / f"{name}.yaml"
    identity = f"User={SYSTEM_USER}\nSupplementaryGroups={' '.join(groups)}\n" if system else ""
    # %t is the folder for runtime files: /run, or the user's own.
    environment = (
        f"XDG_RUNTIME_DIR=%t/{folder} STREAMSEG_MODELS={layout.state}/models HF_HOME={layout.state}/huggingface"
    )
    if system:
        environment += f" XDG_CACHE_HOME={layout.cache.parent}"
    directories = f"RuntimeDirectory={folder}\n"
    if system:
        directories += "RuntimeDirectoryMode=0750\nStateDirectory=streamseg\nCacheDirectory=streamseg\nUMask=0027\n"
    return f"""\
# Written by `streamseg service install`; change it with `systemctl edit`, which an update leaves alone.
[Unit]
Description=streamseg: real-time video object segmentation{" (%i)" if template else ""}
After=network-online.target
Wants=network-online.target
# A daemon that fails at once five times in five minutes stays down, with the reason in its log.
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={_escape(executable)} run {_escape(config, keep_specifiers=template)}
ExecReload=/bin/kill -HUP $MAINPID
EnvironmentFile=-{layout.environment}
Environment={environment}
# Ready when the model is warm; the daemon asks for more time while it compiles.
TimeoutStartSec=120
# Fed by the progress of the supervisor and the worker, never by a camera.
WatchdogSec=60
# The supervisor stops its processes in under 3 s; what is left after that is killed.
KillMode=mixed
TimeoutStopSec=10
# Exit codes 2 (configuration) and 3 (model) would fail again the same way; all others may pass.
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 3
{identity}{directories}{_HARDENING if system else _USER_HARDENING}
[Install]
WantedBy={"multi-user.target" if system else "default.target"}
"""


def _escape(path: Path, *, keep_specifiers: bool = False) -> str:
    """Quote a path for a command line of systemd."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    if not keep_specifiers:
        text = text.replace("%", "%%")
    return f'"{text}"' if any(character.isspace() for character in text) else text


def packaged_units() -> dict[str, str]:
    """Return the system's units by file name, for an installation in ``/opt/streamseg``."""
    executable = Path("/opt/streamseg/bin/streamseg")
    layouts = (system_layout(DEFAULT_INSTANCE), system_layout("NAME"))
    return {layout.unit_file.name: render_unit(layout, executable) for layout in layouts}
