"""Writes the repository's units for packagers: ``python -m streamseg.service FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from streamseg.service.unit import packaged_units


def main(folder: Path) -> None:
    """Write the units into a folder."""
    for name, text in packaged_units().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
