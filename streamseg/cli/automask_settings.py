"""The settings of ``streamseg automask``: a YAML file, and overrides from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.images.parameters import AutomaticParameters

MODEL_SETTINGS: Final = ("name", "config", "image_size", "device", "dtype", "apply_postprocessing")
_KEYS: Final = ("model", "preset", "presets", "parameters")
_EXAMPLES: Final = {
    "name": "the name of a model, such as nano, or the path of a checkpoint",
    "config": "the name or the path of a configuration",
    "device": "auto, cpu, cuda or cuda:N",
    "dtype": "auto, float32, bfloat16 or float16",
}


@dataclass(frozen=True, slots=True)
class AutomaskSettings:
    """What to find, and with which model.

    Attributes:
        model: The given arguments of ``load_model``.
        preset: Name of the preset; None for none.
        parameters: The parameters of the file's preset, if it is used, and overrides.
    """

    model: dict[str, Any]
    preset: str | None
    parameters: dict[str, Any]

    def checked(self, model: str | None) -> AutomaticParameters:
        """Return all parameters for the model of that name.

        Raises:
            ConfigError: One is unknown or invalid.
        """
        from streamseg.images.parameters import parameters

        return parameters(self.parameters, preset=self.preset, model=model)


def read_settings(
    file: Path | None, preset: str | None, parameters: Mapping[str, Any], model: Mapping[str, Any]
) -> AutomaskSettings:
    """Return the settings of a file, overridden by the command line where it is not None.

    Args:
        file: A YAML file with ``model``, ``preset``, ``presets`` and ``parameters``; all optional.
        preset: Name of a preset from the file or built in.
        parameters: Name -> value.
        model: Argument of ``load_model`` -> value.

    Raises:
        ConfigError: The file cannot be read, or has a key or a value that is invalid.
    """
    from streamseg.images.parameters import PRESETS

    tree = {} if file is None else _read(file)
    chosen = preset if preset is not None else tree.get("preset")
    own = tree.get("presets", {}).get(chosen)
    if own is None and chosen is not None and chosen not in PRESETS:
        known = ", ".join(map(str, {**PRESETS, **tree.get("presets", {})}))
        raise ConfigError(f"preset {chosen!r} is unknown: expected one of {known}")
    given = {**(own or {}), **tree.get("parameters", {}), **_without_none(parameters)}
    if parameters.get("points_per_side") is not None and parameters.get("point_grids") is None:
        given.pop("point_grids", None)  # the file's grids
    return AutomaskSettings(
        {**tree.get("model", {}), **_without_none(model)}, None if own is not None else chosen, given
    )


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _read(file: Path) -> dict[str, Any]:
    from streamseg.config.yaml import read_document
    from streamseg.images.parameters import NAMES

    document = read_document(file)
    tree = {} if document.tree is None else document.tree
    groups: list[tuple[tuple[str, ...], Any, tuple[str, ...] | None]] = [((), tree, _KEYS)]
    if isinstance(tree, dict):
        groups += [
            (("model",), tree.get("model", {}), MODEL_SETTINGS),
            (("parameters",), tree.get("parameters", {}), NAMES),
        ]
        presets = tree.get("presets", {})
        groups += [(("presets",), presets, None)]
        groups += [(("presets", str(name)), values, NAMES) for name, values in _items(presets)]
    for path, values, known in groups:
        where = f"{file}:{document.line(path)}: {'.'.join(path) or 'the file'}"
        if not isinstance(values, dict):
            raise ConfigError(f"{where} is {values!r}: expected names and values")
        for key in values:
            if known is not None and key not in known:
                place = ".".join((*path, str(key)))
                raise ConfigError(
                    f"{file}:{document.line((*path, str(key)))}: {place}: there is no such setting: expected one of "
                    f"{', '.join(known)}"
                )
    for path, value, kind, expected in _typed(tree):
        if value is not None and not isinstance(value, kind):
            where = f"{file}:{document.line(path)}: {'.'.join(path)}"
            raise ConfigError(f"{where}: {value!r} is invalid: expected {expected}")
    found: dict[str, Any] = tree
    return found


def _typed(tree: dict[str, Any]) -> list[tuple[tuple[str, ...], Any, type, str]]:
    """Return the settings whose type no later step checks: path, value, type and its description."""
    model = tree.get("model", {})
    texts = [(("model", name), model.get(name), str, _EXAMPLES[name]) for name in _EXAMPLES]
    return [
        (("preset",), tree.get("preset"), str, "the name of a preset, such as fine"),
        *texts,
        (("model", "apply_postprocessing"), model.get("apply_postprocessing"), bool, "true or false"),
    ]


def _items(values: object) -> list[tuple[object, object]]:
    return list(values.items()) if isinstance(values, dict) else []
