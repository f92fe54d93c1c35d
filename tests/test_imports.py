"""What each part of streamseg may load, checked in fresh interpreters and in the code."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "streamseg"


def modules_of(statement):
    """All modules that are loaded after a statement, by their full names."""
    script = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def loaded(statement):
    """The packages of those modules."""
    return {name.partition(".")[0] for name in modules_of(statement)}


@pytest.mark.parametrize(
    ("statement", "without"),
    [
        ("import streamseg", {"torch", "av", "cv2", "numpy", "zmq", "yaml", "typer"}),
        ("import streamseg.client", {"torch", "av", "cv2", "sam2", "yaml", "typer"}),
        ("import streamseg.cli.app", {"torch", "av", "cv2", "numpy", "zmq", "yaml", "sam2", "multiprocessing"}),
        ("import streamseg.images, streamseg.images.parameters", {"torch", "av", "cv2", "zmq", "sam2"}),
        ("import streamseg.config.load", {"torch", "av", "cv2", "zmq", "sam2"}),
        ("import streamseg.models.registry", {"torch", "av", "cv2", "sam2"}),
        ("import streamseg.daemon.supervisor", {"torch", "av", "cv2", "sam2", "asyncio"}),
        ("import streamseg.capture.process", {"torch", "sam2"}),
        ("import streamseg.publish.process", {"torch", "av", "cv2", "sam2", "asyncio"}),
        ("import streamseg.worker.process", {"torch", "av", "sam2", "PIL"}),
        ("import streamseg.daemon.run_child", {"torch", "av", "cv2", "sam2", "typer", "asyncio", "PIL"}),
        ("import streamseg.control.process", {"torch", "av", "cv2", "sam2", "typer", "asyncio"}),
        ("import streamseg.web.process", {"torch", "av", "sam2", "yaml", "typer"}),
    ],
)
def test_what_an_import_does_not_load(statement, without):
    assert loaded(statement) & without == set()


def test_the_supervisor_loads_no_process():
    names = modules_of("import streamseg.daemon.supervisor")
    assert not [name for name in names if name.startswith("streamseg.") and name.endswith(".process")]


def imports_of(path):
    """Top-level names of the packages that a file imports at module level, type checking aside."""
    found = set()
    waiting = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module)):
                found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                waiting += node.orelse
            case ast.If() | ast.Try() | ast.With():
                waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


def files_of(part):
    folder = PACKAGE / part
    found = sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]
    assert found
    return found


def offences(files, forbidden):
    return [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files
        for name in sorted(imports_of(path))
        for bad in forbidden
        if name == bad or name.startswith(f"{bad}.")
    ]


def test_the_tracker_does_no_io():
    # Models are converted in a process of its own, see docs/architecture.md.
    converter = PACKAGE / "tracker" / "background.py"
    assert converter.exists()
    others = [path for path in files_of("tracker") if path != converter]
    assert offences(others, ("zmq", "av", "multiprocessing", "socket", "subprocess")) == []
    assert offences([converter], ("zmq", "av", "multiprocessing", "socket")) == []


def test_only_the_tracker_the_worker_and_images_import_torch():
    allowed = {"tracker", "worker", "images"}
    others = [path for path in PACKAGE.rglob("*.py") if not allowed & set(path.relative_to(PACKAGE).parts)]
    assert len(others) > 40
    assert offences(others, ("torch", "sam2")) == []
