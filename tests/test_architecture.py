"""The map of the project shows every module."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "streamseg").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_in_the_architecture_page(module: Path):
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition(f"**`{module.parent.relative_to(ROOT)}/`**")[2].partition("\n**`")[0]
    assert f"| `{module.name}` |" in section, "add a line to docs/architecture.md"
