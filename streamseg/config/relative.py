"""Resolve relative paths in settings against the folder of the configuration file, not the working directory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from streamseg.config.schema import ModelConfig, StreamConfig
from streamseg.models.registry import is_checkpoint_path
from streamseg.sources.address import local_path


def stream_at(base: Path, stream: StreamConfig) -> StreamConfig:
    """Return the stream with the paths of its mask files and its video file or folder resolved against ``base``."""
    prompts = tuple(
        prompt if prompt.mask is None else msgspec.structs.replace(prompt, mask=_at(base, prompt.mask))
        for prompt in stream.prompts
    )
    # White space before a URL makes it look like a path; the rules refuse it.
    address = stream.source[:1].isspace() and "://" in stream.source
    path = None if address else local_path(stream.source)
    source = stream.source if path is None else _at(base, str(path))
    return msgspec.structs.replace(stream, source=source, prompts=prompts)


def model_at(base: Path, model: ModelConfig) -> ModelConfig:
    """Return the model with the paths of its checkpoint and config file resolved against ``base``."""
    name = _at(base, model.name) if is_checkpoint_path(model.name) else model.name
    config = model.config
    if config is not None and (file := _at(base, config)) and Path(file).is_file():
        config = file
    return msgspec.structs.replace(model, name=name, config=config)


def _at(base: Path, path: str) -> str:
    try:
        return str(base / Path(path).expanduser())
    except RuntimeError:  # ~user of an unknown user: the rules say that there is no such file
        return path
