"""Encoder and tracking step on a CPU by OpenVINO, converted once and kept on disk.

When it is imported, OpenVINO reports that to Intel through Google Analytics and writes a client id to ``~/intel``,
unless the user has opted out. Without its package for that it does neither, so that package is blocked here first.
So are its command-line tools, which nothing here uses: they are a quarter of what its import takes.
"""

import sys

for _blocked in ("openvino_telemetry", "openvino.tools.ovc"):
    sys.modules.setdefault(_blocked, None)  # type: ignore[arg-type]  # None: importing it fails
