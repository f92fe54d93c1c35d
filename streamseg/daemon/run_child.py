"""The entry point of every child process. It imports little; the process it runs imports what that process needs."""

from __future__ import annotations

import importlib
import logging
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from streamseg.common.redact import redact
from streamseg.errors import ConfigError, ModelError, StreamsegError
from streamseg.ipc.supervisor_link import ChildLink
from streamseg.ipc.supervisor_messages import Report

log = logging.getLogger(__name__)


def run_child(name: str, module: str, args: tuple[Any, ...], connection: Connection) -> None:
    """Run a child's ``main``; the first function in every child process. Reports errors that a restart cannot fix."""
    Path("/proc/self/comm").write_text(name[:15])  # what `ps` and `top` show
    try:
        importlib.import_module(module).main(*args, connection)
    except (ConfigError, ModelError) as error:
        ChildLink(connection).send(Report("fatal", str(error), error.exit_code))
        sys.exit(error.exit_code)
    except StreamsegError as error:
        log.error("%s", error)
        ChildLink(connection).send(Report("failed", str(error)))
        sys.exit(error.exit_code)
    except Exception as error:  # a bug: logged, since the log redacts and a bare traceback does not
        log.critical("%s stopped by an unexpected error", name, exc_info=True)
        ChildLink(connection).send(Report("failed", redact(f"{type(error).__name__}: {error}")))
        sys.exit(1)
