"""Creates a prompter from a stream's settings."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from streamseg.config.prompter_types import GROUP, own_file, type_problem
from streamseg.config.schema import PrompterConfig
from streamseg.errors import ConfigError
from streamseg.prompters.proposal import Prompter

Factory = Callable[[Mapping[str, Any]], Prompter]


def create_prompter(config: PrompterConfig) -> Prompter:
    """Return the prompter that the settings name.

    Blocks: to import it, and to load its model.

    Raises:
        ConfigError: there is no such type, it cannot be loaded, or it refuses its settings; a restart would not help.
        Exception: whatever its factory raises.
    """
    made = _factory(config.type)(config.settings)
    if not callable(getattr(made, "prompts", None)):
        raise ConfigError(
            f"type: {config.type!r} made {type(made).__name__}, which has no method prompts(picture, tracked)"
        )
    return made


def _factory(name: str) -> Factory:
    if (own := own_file(name)) is not None:
        return _from_file(name, Path(own[0]), own[1])
    if (problem := type_problem(name)) is not None:
        raise ConfigError(f"type: {problem}")
    (point, *_) = entry_points(group=GROUP, name=name)
    try:
        factory: Factory = point.load()
    except ImportError as error:
        raise ConfigError(f"type: {name!r} cannot be loaded: {error}") from error
    return factory


def _from_file(name: str, path: Path, function: str) -> Factory:
    """Return a function of a Python file.

    The file may have the name of a library, so it is imported under a unique name.
    """
    module_name = f"streamseg_prompter_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"type: {name!r}: there is no file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    factory: Factory | None = getattr(module, function, None)
    if not callable(factory):
        raise ConfigError(f"type: {name!r}: {path.name} has no function {function!r}")
    return factory
