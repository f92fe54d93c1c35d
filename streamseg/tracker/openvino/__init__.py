"""Runs encoder and tracking step with OpenVINO, converted once and cached on disk.

On import, OpenVINO reports to Intel through Google Analytics and writes a client id to ``~/intel``, unless the user has
opted out. Without its telemetry package it does neither, so that package is blocked here first. So are its command-line
tools, which nothing here uses and which take a quarter of its import time.
"""

import sys

for _blocked in ("openvino_telemetry", "openvino.tools.ovc"):
    sys.modules.setdefault(_blocked, None)  # type: ignore[arg-type]  # None: importing it fails
