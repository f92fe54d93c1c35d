"""Reads settings from a file or a mapping. The only module that reads configuration files and their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import msgspec

from streamseg.config.environment import substitute
from streamseg.config.problems import Problem, Problems, path_name
from streamseg.config.relative import http_at, key_folder, model_at, record_at, security_at, stream_at
from streamseg.config.rules import (
    check_control,
    check_find,
    check_http,
    check_model,
    check_publish,
    check_record,
    check_stream,
    check_stream_id,
)
from streamseg.config.schema import (
    Config,
    ControlConfig,
    FindConfig,
    HttpConfig,
    LogConfig,
    ModelConfig,
    PublishConfig,
    RecordConfig,
    SecurityConfig,
    StateConfig,
    StreamConfig,
)
from streamseg.config.validate import read_value
from streamseg.config.yaml import Document, read_document
from streamseg.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

EXTENSION = "x-"
"""Top-level keys with this prefix are ignored; they are a place for YAML anchors."""


def load_config(path: str | Path, overrides: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> Config:
    """Read and check a configuration file.

    Relative paths in it (masks, checkpoints, video files and folders) start at the file's own folder.

    Args:
        path: Path of the file.
        overrides: Group -> setting -> value that replaces the one in the file, for example
            ``{"model": {"device": "cpu"}}``.

    Raises:
        ConfigError: the file cannot be read, or settings are invalid: the message has a line for each, with its
            line number, its path, its value (without passwords) and the fix.
    """
    document = read_document(Path(path))
    tree = document.tree
    for group, values in overrides.items() if isinstance(tree, dict) else ():
        if isinstance(tree.setdefault(group, {}), dict):
            tree[group] = {**tree[group], **values}
    return _load(tree, base=Path(path).absolute().parent, document=document)


def config_from_mapping(mapping: Mapping[str, Any], *, base: Path | None = None) -> Config:
    """Check settings given as plain values, as from YAML.

    Args:
        mapping: Settings; ``${NAME}`` in them is replaced from the environment, as in a file.
        base: Folder at which relative paths start; the working directory if None.

    Raises:
        ConfigError: settings are invalid: one line for each, with its path, its value and the fix.
    """
    return _load(dict(mapping), base=base or Path.cwd(), document=None)


def filled_address(address: str) -> str:
    """Return an address with ``${NAME}`` replaced from the environment, as in a file.

    Raises:
        ConfigError: a variable is not set.
    """
    problems = Problems()
    filled, _ = substitute(address, os.environ, problems)
    if problems.found:
        raise ConfigError(problems.found[0].text)
    return str(filled)


def stream_from_mapping(
    stream: str,
    settings: Mapping[str, Any],
    *,
    max_objects: int,
    base: Path | None = None,
    before: StreamConfig | None = None,
) -> StreamConfig:
    """Check the settings of one stream given as plain values; environment variables are not replaced.

    Args:
        stream: Its id.
        settings: The content of ``streams.NAME`` in a file.
        max_objects: Maximum number of objects per stream.
        base: Folder at which relative paths start; the working directory if None.
        before: The current settings. Problems that they already have do not refuse a change: the file of a stream may
            be gone since it was opened.

    Raises:
        ConfigError: settings are invalid: one line for each, with its path, its value and the fix.
    """
    path = ("streams", stream)
    problems = Problems()
    check_stream_id(stream, path, problems)
    found = read_value(dict(settings), StreamConfig, path, problems)
    if found is not None and not problems.found:
        found = stream_at(base or Path.cwd(), found)
        check_stream(found, path, problems, max_objects)
        if before is not None:
            known = Problems()
            check_stream(before, path, known, max_objects)
            problems.found = [problem for problem in problems.found if problem not in known.found]
    if problems.found or not isinstance(found, StreamConfig):
        raise ConfigError(_message(problems.found, None))
    return found


def find_from_mapping(stream: str, settings: Mapping[str, Any]) -> FindConfig:
    """Check a stream's settings for finding objects: the content of ``streams.NAME.find`` in a file, as plain values.

    Raises:
        ConfigError: settings are invalid: one line for each, with its path, its value and the fix.
    """
    path = ("streams", stream, "find")
    problems = Problems()
    found = read_value(dict(settings), FindConfig, path, problems)
    if isinstance(found, FindConfig) and not problems.found:
        check_find(found, path, problems)
    if problems.found or not isinstance(found, FindConfig):
        raise ConfigError(_message(problems.found, None))
    return found


def filled_settings(tree: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Return the settings of a file with ``${NAME}`` replaced from the environment, without :data:`EXTENSION` keys.

    Args:
        tree: Content of the file.
        problems: Gets variables that are not set, and the templates of the others.
    """
    settings = {key: value for key, value in tree.items() if not str(key).startswith(EXTENSION)}
    filled, problems.templates = substitute(settings, os.environ, problems)
    return cast("dict[str, Any]", filled)


def _load(tree: Any, *, base: Path, document: Document | None) -> Config:
    problems = Problems()
    filled = filled_settings(tree, problems) if isinstance(tree, dict) else {}
    if not filled:
        name = document.name if document else "the configuration"
        raise ConfigError(f"{name} has no settings: start with\nstreams:\n  cam:\n    source: webcam:0")
    unset = {problem.path for problem in problems.found}
    read_value(filled, Config, (), problems)
    # An unset variable has been reported; its empty value is not a second problem.
    missing = problems.found[: len(unset)]
    problems.found = missing + [problem for problem in problems.found[len(unset) :] if problem.path not in unset]
    config = _check_parts(filled, base, problems)
    if problems.found:
        raise ConfigError(_message(problems.found, document))
    return config


def _check_parts(tree: dict[str, Any], base: Path, problems: Problems) -> Config:
    """Apply the rules to every part that has the right types, so that one invalid setting does not hide others."""

    def part(value: Any, struct: type[T], path: tuple[str, ...]) -> T | None:
        return None if problems.any_under(path) else read_value(value, struct, path, problems)

    security = part(tree.get("security", {}), SecurityConfig, ("security",))
    security = security_at(base, security or SecurityConfig())
    keys = key_folder(security)
    model = part(tree.get("model", {}), ModelConfig, ("model",))
    if model is not None:
        model = model_at(base, model)
        check_model(model, ("model",), problems)
    publish = part(tree.get("publish", {}), PublishConfig, ("publish",))
    if publish is not None:
        check_publish(publish, ("publish",), problems, keys)
    control = part(tree.get("control", {}), ControlConfig, ("control",))
    if control is not None:
        check_control(control, ("control",), problems, keys)
    streams: dict[str, StreamConfig] = {}
    named = tree.get("streams")
    wrong_form = any(problem.path == ("streams",) for problem in problems.found)
    for name, settings in named.items() if isinstance(named, dict) and not wrong_form else ():
        path = ("streams", str(name))
        stream = part(settings, StreamConfig, path)
        check_stream_id(str(name), path, problems)
        if stream is not None:
            streams[name] = stream_at(base, stream)
            check_stream(streams[name], path, problems, (model or ModelConfig()).max_objects)
    http = part(tree.get("http", {}), HttpConfig, ("http",))
    if http is not None:
        http = http_at(base, http)
        check_http(http, ("http",), problems, keys)
    state = part(tree.get("state", {}), StateConfig, ("state",))
    record = part(tree.get("record", {}), RecordConfig, ("record",))
    if record is not None:
        record = record_at(base, record)
        check_record(record, ("record",), problems)
    log = part(tree.get("log", {}), LogConfig, ("log",))
    return Config(
        streams=streams,
        model=model or ModelConfig(),
        publish=publish or PublishConfig(),
        control=control or ControlConfig(),
        http=http or HttpConfig(),
        security=security,
        state=state or StateConfig(),
        record=record or RecordConfig(),
        log=log or LogConfig(),
    )


def _message(found: list[Problem], document: Document | None) -> str:
    count = "one setting is invalid" if len(found) == 1 else f"{len(found)} settings are invalid"
    lines = [f"{document.name if document else 'configuration'}: {count}"]
    for problem in sorted(found, key=lambda problem: document.line(problem.path) if document else 0):
        where = f"line {document.line(problem.path)}: " if document else ""
        lines.append(f"  {where}{path_name(problem.path)}: {problem.text}")
    return "\n".join(lines)
