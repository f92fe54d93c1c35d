"""Published architectures with few blocks: their widths, heads and windows, without most of the time and memory."""

from __future__ import annotations

from pathlib import Path

import sam2
import yaml

STAGES, GLOBAL = [1, 2, 4, 2], [4, 6]
"""Every kind of block: with the windows of each stage and without any, pooled and not, before and after one without."""


def shallow(config: str, folder: Path) -> Path:
    """Write such a config, by its published name, into a folder."""
    version = config.partition("_")[0]
    described = yaml.safe_load((Path(sam2.__path__[0]) / "configs" / version / f"{config}.yaml").read_text())
    described["model"]["image_encoder"]["trunk"] |= {"stages": STAGES, "global_att_blocks": GLOBAL}
    path = folder / f"{config}.yaml"
    path.write_text(yaml.safe_dump(described))
    return path
