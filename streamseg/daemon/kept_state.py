"""The supervisor's state on disk: streams and objects, restored when the daemon starts again.

The configuration file wins where it differs. A daemon without a configuration file keeps nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from streamseg.config.load import stream_from_mapping
from streamseg.config.schema import Config, StreamConfig
from streamseg.daemon.process_table import RunningStream
from streamseg.errors import ConfigError, StateError
from streamseg.ipc.saved_prompts import SavedStream, configured
from streamseg.state.daemon_record import (
    MAX_BYTES,
    DaemonRecord,
    StreamRecord,
    decode_record,
    encode_record,
    source_digest,
)
from streamseg.state.folder import StateFolder
from streamseg.state.place import RECORD, StateLock
from streamseg.state.stream_snapshot import SavedObjects

log = logging.getLogger(__name__)

_RETRY_S: Final = 5.0


class KeptState:
    """The state on disk of one configuration. Used by the supervisor's thread.

    Args:
        folder: Folder of the state.
        config_file: Path of the configuration file, recorded for readers.

    Raises:
        StateError: Another daemon uses the folder, or it cannot be created.
    """

    def __init__(self, folder: Path, config_file: Path) -> None:
        self.path = folder
        self._folder = StateFolder(folder, durable=False)
        self._config_file = config_file
        self._lock = StateLock(folder)
        self._folder.remove_leftovers()
        self._not_before = 0.0

    def streams(self, config: Config) -> dict[str, tuple[StreamConfig, SavedStream | None, bool]]:
        """Return the streams to start with: settings, objects, and whether they are in the configuration file."""
        records = self._read()
        found: dict[str, tuple[StreamConfig, SavedStream | None, bool]] = {
            stream: (settings, _objects(stream, settings, records.get(stream)), True)
            for stream, settings in config.streams.items()
        }
        for stream, record in records.items():
            if record.settings is None or stream in found:
                continue
            try:
                settings = stream_from_mapping(stream, record.settings, max_objects=config.model.max_objects)
            except ConfigError as error:
                log.warning("stream %s, which was added on request, is not continued: %s", stream, error)
                continue
            found[stream] = settings, _objects(stream, settings, record), False
        return found

    def _read(self) -> Mapping[str, StreamRecord]:
        try:
            data = self._folder.read(RECORD, MAX_BYTES)
            return {} if data is None else decode_record(data).streams
        except StateError as error:
            log.warning("the state of the last run in %s is not used: %s", self.path, error)
            return {}

    def write(self, running: Mapping[str, RunningStream]) -> bool:
        """Write the current state; return False if that failed and should be retried."""
        if time.monotonic() < self._not_before:
            return False
        record = DaemonRecord(
            config=str(self._config_file),
            streams={stream: _record(entry) for stream, entry in running.items()},
        )
        try:
            self._folder.write(RECORD, encode_record(record))
        except StateError as error:
            log.error("%s: the state would not survive a restart", error)
            self._not_before = time.monotonic() + _RETRY_S
            return False
        return True

    def clear(self) -> None:
        """Remove the state, after all files have ended."""
        self._folder.clear()

    def close(self) -> None:
        """Let another daemon use the folder."""
        self._lock.release()


def _record(entry: RunningStream) -> StreamRecord:
    settings: dict[str, Any] | None = None if entry.from_file else msgspec.to_builtins(entry.settings)
    saved = entry.saved or configured(entry.settings.prompts)
    return StreamRecord(
        source=source_digest(entry.settings.source),
        settings=settings,
        configured=tuple(prompt.object for prompt in entry.settings.prompts),
        saved=SavedObjects.of(saved),
    )


def _objects(stream: str, settings: StreamConfig, record: StreamRecord | None) -> SavedStream | None:
    """Merge a stream's objects of the last run with its settings; None if there are none of the last run."""
    if record is None:
        return None
    before, now = record.saved.stream(), configured(settings.prompts)
    next_id = max(before.next_id, now.next_id)
    if record.source != source_digest(settings.source):
        log.warning("stream %s has another source than in the last run: its earlier objects are not continued", stream)
        return replace(now, next_id=next_id)
    was = {obj.obj_id: obj for obj in before.objects}
    objects = []
    for obj in now.objects:
        known = was.pop(obj.obj_id, None)
        same = known is not None and known.prompts[:1] == obj.prompts
        # Do not use the record's origin: older versions had none, and their records read as a user's.
        objects.append(replace(known, label=obj.label or known.label, origin=obj.origin) if known and same else obj)
    # Objects that were configured in the last run and are no longer were removed from the file.
    objects += [obj for obj in was.values() if obj.obj_id not in record.configured]
    return SavedStream(tuple(objects), next_id, before.paused, earlier=True, find=before.find)
