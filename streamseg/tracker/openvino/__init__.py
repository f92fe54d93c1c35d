"""Encoder and tracking step on a CPU by OpenVINO, converted once and kept on disk.

When it is imported, OpenVINO reports that to Intel through Google Analytics and writes a client id to ``~/intel``,
unless the user has opted out. Without its package for that it does neither, so that package is blocked here first.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: importing it fails
