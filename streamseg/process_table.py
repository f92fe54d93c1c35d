"""Every process of the daemon in one table: what it runs, and how long it may be silent."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from streamseg import __version__
from streamseg.capture_process import CaptureSpec
from streamseg.config.schema import Config
from streamseg.errors import ConfigError, ModelError, StreamsegError
from streamseg.link import ChildLink
from streamseg.orders import Report
from streamseg.publisher_process import PublisherSpec
from streamseg.redact import redact
from streamseg.ring.frame_ring import FrameRing
from streamseg.worker_process import WorkerSpec

log = logging.getLogger(__name__)

PUBLISHER = "publisher"
WORKER = "worker"

_WORKER_SILENCE_S = 180.0
"""A turn of the largest model at 1024 on a small CPU, with prompts for many objects, may take a minute or two."""


@dataclass(frozen=True)
class ProcessEntry:
    """One process.

    Attributes:
        name: ``publisher``, ``worker`` or ``capture:STREAM``.
        module: Module whose ``main(*args, connection)`` the child runs.
        args: For it.
        ready_timeout_s: Longest silence until it is ready. A worker on a GPU may compile for minutes, but says
            that it makes progress.
        silence_timeout_s: Longest silence afterwards; then it is killed and started anew.
    """

    name: str
    module: str
    args: tuple[Any, ...]
    ready_timeout_s: float
    silence_timeout_s: float


def process_table(
    config: Config, rings: Mapping[str, FrameRing], *, session: str, internal_endpoint: str, lossless: frozenset[str]
) -> list[ProcessEntry]:
    """Return the daemon's processes in the order in which they are started.

    Args:
        config: Checked settings.
        rings: Stream id -> its ring.
        session: Id of this run of the daemon.
        internal_endpoint: Where the publisher is to listen for the others.
        lossless: Ids of the streams of which no frame may be dropped.
    """
    sources = {stream: redact(settings.source) for stream, settings in config.streams.items()}
    publisher = PublisherSpec(
        session=session,
        publish=config.publish,
        internal_endpoint=internal_endpoint,
        streams=sources,
        model=config.model.name,
        version=__version__,
        log=config.log,
    )
    worker = WorkerSpec(
        model=config.model,
        streams=config.streams,
        lossless=lossless,
        internal_endpoint=internal_endpoint,
        log=config.log,
    )
    table = [
        ProcessEntry(PUBLISHER, "streamseg.publisher_process", (publisher, dict(rings)), 30, 10),
        ProcessEntry(WORKER, "streamseg.worker_process", (worker, dict(rings)), 600, _WORKER_SILENCE_S),
    ]
    for stream, settings in config.streams.items():
        capture = CaptureSpec(stream=stream, config=settings, internal_endpoint=internal_endpoint, log=config.log)
        silence = 15 + settings.open_timeout_s + settings.stall_timeout_s
        table.append(
            ProcessEntry(capture_name(stream), "streamseg.capture_process", (capture, rings[stream]), 30, silence)
        )
    return table


def capture_name(stream: str) -> str:
    """Name of a stream's capture process."""
    return f"capture:{stream}"


def run_child(name: str, module: str, args: tuple[Any, ...], connection: Connection) -> None:
    """First function in every child: runs its ``main`` and reports an error that no restart would mend."""
    Path("/proc/self/comm").write_text(name[:15])  # what `ps` and `top` show
    try:
        importlib.import_module(module).main(*args, connection)
    except (ConfigError, ModelError) as error:
        ChildLink(connection).send(Report("fatal", str(error), error.exit_code))
        sys.exit(error.exit_code)
    except StreamsegError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    except Exception:  # a bug: through the log, which redacts, rather than as a bare traceback
        log.critical("%s ended by an unexpected error", name, exc_info=True)
        sys.exit(1)
