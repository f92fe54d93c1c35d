"""Resolves relative paths in settings against the folder of the configuration file, not the working directory."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from streamseg.config.prompter_settings import SETTINGS
from streamseg.config.prompter_types import own_file
from streamseg.config.schema import (
    Config,
    HttpConfig,
    ModelConfig,
    PrompterConfig,
    RecordConfig,
    SecurityConfig,
    StreamConfig,
)
from streamseg.models.huggingface import is_model_id
from streamseg.models.registry import is_checkpoint_path
from streamseg.security.key_folder import KeyFolder, default_key_folder
from streamseg.sources.address import local_path


def config_at(base: Path, config: Config) -> Config:
    """Return the configuration with all its paths resolved against ``base``."""
    return msgspec.structs.replace(
        config,
        streams={name: stream_at(base, stream) for name, stream in config.streams.items()},
        model=model_at(base, config.model),
        record=record_at(base, config.record),
        http=http_at(base, config.http),
        security=security_at(base, config.security),
    )


def stream_at(base: Path, stream: StreamConfig) -> StreamConfig:
    """Return the stream with the paths of its mask files and its video file or folder resolved against ``base``."""
    prompts = tuple(
        prompt if prompt.mask is None else msgspec.structs.replace(prompt, mask=absolute_path(base, prompt.mask))
        for prompt in stream.prompts
    )
    # White space before a URL makes it look like a path; the rules refuse it.
    address = stream.source[:1].isspace() and "://" in stream.source
    path = None if address else local_path(stream.source)
    source = stream.source if path is None else absolute_path(base, str(path))
    prompters = {name: _prompter_at(base, prompter) for name, prompter in stream.prompters.items()}
    return msgspec.structs.replace(stream, source=source, prompts=prompts, prompters=prompters)


def _prompter_at(base: Path, prompter: PrompterConfig) -> PrompterConfig:
    """Return the prompter with the paths of its file and of its model resolved against ``base``."""
    settings, kind = prompter.settings, prompter.type
    if kind in SETTINGS and isinstance(model := settings.get("model"), str):
        settings = {**settings, "model": absolute_path(base, model)}
    if (own := own_file(kind)) is not None:
        kind = f"{absolute_path(base, own[0])}:{own[1]}"
    return msgspec.structs.replace(prompter, type=kind, settings=settings)


def model_at(base: Path, model: ModelConfig) -> ModelConfig:
    """Return the model with the paths of its checkpoint and config file resolved against ``base``."""
    config = model.config
    if config is not None and (file := absolute_path(base, config)) and os.path.isfile(file):  # noqa: PTH113 - never raises
        config = file
    return msgspec.structs.replace(model, name=model_name_at(base, model.name), config=config)


def record_at(base: Path, record: RecordConfig) -> RecordConfig:
    """Return the recording with its folders resolved against ``base``."""
    path, clips = record.path, record.clips
    if clips.path is not None:
        clips = msgspec.structs.replace(clips, path=absolute_path(base, clips.path))
    return msgspec.structs.replace(record, path=None if path is None else absolute_path(base, path), clips=clips)


def http_at(base: Path, http: HttpConfig) -> HttpConfig:
    """Return the settings with the TLS files resolved against ``base``."""
    files = {name: getattr(http, name) for name in ("tls_certificate", "tls_key")}
    named = {name: absolute_path(base, file) for name, file in files.items() if file is not None}
    return msgspec.structs.replace(http, **named)


def security_at(base: Path, security: SecurityConfig) -> SecurityConfig:
    """Return the settings with the folder of keys resolved against ``base``."""
    keys = None if security.keys is None else absolute_path(base, security.keys)
    return msgspec.structs.replace(security, keys=keys)


def key_folder(security: SecurityConfig) -> KeyFolder:
    """Return the daemon's folder of keys."""
    return KeyFolder(default_key_folder() if security.keys is None else Path(security.keys))


def model_name_at(base: Path, name: str) -> str:
    """Return a model's name; a path is made absolute.

    ``owner/name`` may be an id of the Hugging Face Hub or a path: an existing path wins. Only this function decides:
    an absolute path never looks like an id, so later steps can go by the form.
    """
    path = absolute_path(base, name)
    if is_checkpoint_path(name) or (is_model_id(name) and os.path.exists(path)):  # noqa: PTH110 - never raises
        return path
    return name


def absolute_path(base: Path, path: str) -> str:
    """Return a path resolved against ``base``, with ``~`` expanded. Never raises: an unknown ``~user`` is kept."""
    try:
        return str(base / Path(path).expanduser())
    except (RuntimeError, ValueError):  # no such user, or an impossible file name
        return path
