"""Downloads a checkpoint from its publisher's address: resumable, verified, renamed only when complete.

Ours because no library resumes and verifies downloads from plain addresses; for ids of the Hugging Face Hub, its own
library does (:mod:`streamseg.models.huggingface`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from io import BufferedRandom
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streamseg.common.backoff import Backoff, BackoffPolicy
from streamseg.common.redact import redact
from streamseg.errors import ModelError
from streamseg.models import huggingface
from streamseg.models.huggingface import is_model_id
from streamseg.models.registry import Checkpoint, ModelEntry, find, models_directory

_CHUNK_BYTES: Final = 1 << 18
_SPARE_BYTES: Final = 64 << 20
"""Disk space that must stay free."""

_MIN_PROGRESS_BYTES: Final = 1 << 20
"""An attempt that fetched at least this much does not count as failed: even a bad line gets a large file in time."""

_MAX_PAUSE_S: Final = 10.0
_RETRY_STATUSES: Final = frozenset({408, 425, 429})

Progress = Callable[[int, int], None]
"""Called with the number of bytes so far and the size of the file."""


class _TransferError(Exception):
    """The transfer failed in a way that another attempt may fix."""


def pull(
    model: str | ModelEntry,
    directory: Path | None = None,
    *,
    base_url: str | None = None,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
    attempts: int = 5,
    pause_s: float = 1.0,
) -> Path:
    """Fetch a model's checkpoint unless it is already there.

    Data is written to ``FILE.part`` next to the target and survives an interruption; the next call resumes it. The file
    is renamed only after its size and digest are verified and it is synced to disk. An existing file with different
    content is replaced.

    Blocks: until the file is there. A server that is silent for ``timeout_s`` counts as a failed attempt.

    Args:
        model: Name or entry of the model, or an id of the Hugging Face Hub. The Hub's library decides where those files
            go and when it gives up.
        directory: Target folder; default: :func:`~streamseg.models.registry.models_directory`. Created if missing.
        base_url: ``http`` or ``https`` address of a mirror that offers the file under its own name.
        progress: Called about four times per megabyte.
        timeout_s: Longest wait for a connection and for each piece of the response.
        attempts: Number of consecutive attempts with less than 1 MiB before giving up.
        pause_s: Pause before the second attempt; doubles with each further one, up to 10 s.

    Returns:
        The file.

    Raises:
        ModelError: The model is unknown or has no checkpoint, the file cannot be fetched or is wrong, the disk is full,
            or another process is fetching it.
    """
    report = progress or (lambda done, total: None)
    if isinstance(model, str) and is_model_id(model):
        if base_url is not None:
            raise ModelError(
                f"{base_url} cannot be the mirror of an id of the Hugging Face Hub: set HF_ENDPOINT instead"
            )
        return huggingface.fetch(model, report).checkpoint
    entry = find(model) if isinstance(model, str) else model
    checkpoint = entry.checkpoint
    if checkpoint is None:
        raise ModelError(f"model {entry.name!r} has no checkpoint to fetch")
    url = checkpoint.url if base_url is None else f"{base_url.rstrip('/')}/{checkpoint.file_name}"
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or address.username is not None:
        raise ModelError(f"{redact(url)} is invalid: expected an http:// or https:// address without a login")
    directory = (directory or models_directory()).expanduser().absolute()
    target = directory / checkpoint.file_name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if _is_complete(target, checkpoint):
            return target
        with _locked_part(target) as part:
            if part is not None:
                transfer = _Transfer(checkpoint, url, part, report, timeout_s)
                transfer.run(attempts, pause_s)
                Path(part.name).replace(target)
                _sync_directory(directory)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


class _Transfer:
    """Fills one part file.

    Args:
        checkpoint: The checkpoint to fetch.
        url: Its address.
        part: The part file, locked, open for reading and writing.
        progress: Called after each piece.
        timeout_s: Longest wait for the server.
    """

    def __init__(
        self, checkpoint: Checkpoint, url: str, part: BufferedRandom, progress: Progress, timeout_s: float
    ) -> None:
        self._checkpoint = checkpoint
        self._url = url
        self._part = part
        self._target = Path(part.name).with_suffix("")
        self._progress = progress
        self._timeout_s = timeout_s
        self._etag: str | None = None

    def run(self, attempts: int, pause_s: float) -> None:
        """Fetch until the part file is complete and verified.

        A resumed file with a wrong digest is fetched once more from the start: the file on the server may have changed
        in between.
        """
        resumed = self._have() > 0
        self._fetch(attempts, pause_s)
        if resumed and not self._is_verified():
            self._part.truncate(0)
            self._fetch(attempts, pause_s)
        if not self._is_verified():
            Path(self._part.name).unlink()
            raise ModelError(
                f"{self._url} is not {self._checkpoint.file_name}: its sha256 is not {self._checkpoint.sha256}. "
                "It was deleted; try again, or fetch the file from another address"
            )
        self._part.flush()
        os.fsync(self._part.fileno())

    def _have(self) -> int:
        return os.fstat(self._part.fileno()).st_size

    def _is_verified(self) -> bool:
        self._part.seek(0)
        return hashlib.file_digest(self._part, "sha256").hexdigest() == self._checkpoint.sha256

    def _fetch(self, attempts: int, pause_s: float) -> None:
        """Fetch the missing bytes, in as many requests as needed."""
        whole = self._checkpoint.nbytes
        if self._have() > whole:
            self._part.truncate(0)
        failed = 0
        backoff = Backoff(BackoffPolicy(first_s=pause_s, max_s=_MAX_PAUSE_S, healthy_s=0))
        while (before := self._have()) < whole:
            self._check_space(whole - before)
            try:
                self._request()
            except _TransferError as error:
                failed += 1
                if self._have() - before >= _MIN_PROGRESS_BYTES:
                    failed = 0
                    backoff.succeeded(0)
                if failed >= attempts:
                    raise self._give_up(error) from error
                time.sleep(backoff.next_wait_s())

    def _check_space(self, missing: int) -> None:
        folder = self._target.parent
        free, needed = shutil.disk_usage(folder).free, missing + _SPARE_BYTES
        if free < needed:
            raise ModelError(
                f"{folder} has {free >> 20} MiB free and needs {needed >> 20} MiB: make room, or set STREAMSEG_MODELS "
                "to another folder"
            )

    def _give_up(self, error: _TransferError) -> ModelError:
        have, whole = self._have(), self._checkpoint.nbytes
        kept = f" {have >> 20} of {whole >> 20} MiB are here and are kept for the next attempt." if have else ""
        return ModelError(
            f"{self._url} cannot be fetched: {error}.{kept} Without a network, fetch it elsewhere and put it at "
            f"{self._target} (sha256 {self._checkpoint.sha256})"
        )

    def _request(self) -> None:
        """Send one request and append the response to the part file.

        Raises:
            _TransferError: The response is incomplete.
            ModelError: Another attempt would not help.
        """
        have = self._have()
        request = urllib.request.Request(self._url, headers={"Accept-Encoding": "identity", "User-Agent": "streamseg"})
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self._etag is not None:
                request.add_header("If-Range", self._etag)
        try:
            response = urllib.request.urlopen(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error.code, have) from error
        except urllib.error.URLError as error:
            raise _TransferError(f"no connection ({_describe(error.reason)})") from error
        except (http.client.HTTPException, OSError) as error:
            raise _TransferError(f"no answer ({_describe(error)})") from error
        with response:
            self._begin(response, have)
            while piece := _read(response):
                self._append(piece)
        if self._have() < self._checkpoint.nbytes:
            raise _TransferError("the server ended the transfer early")

    def _begin(self, response: http.client.HTTPResponse, have: int) -> None:
        """Check the response's headers, and position the part file where the response begins."""
        start, total = 0, response.getheader("Content-Length")
        if response.status == 206:
            given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.getheader("Content-Range", ""))
            if given is None or int(given[1]) != have:
                self._part.truncate(0)
                raise _TransferError("the server sent another range than was requested")
            start, total = have, given[2] if given[2] != "*" else None
        if total is not None and int(total) != self._checkpoint.nbytes:
            raise ModelError(
                f"{self._url} has {total} bytes, expected {self._checkpoint.nbytes}: it is another file, or a page of "
                "a proxy or login. Check the address and the network"
            )
        etag = response.getheader("ETag")
        self._etag = None if etag is None or etag.startswith("W/") else etag
        self._part.truncate(start)
        self._part.seek(start)

    def _append(self, piece: bytes) -> None:
        if self._have() + len(piece) > self._checkpoint.nbytes:
            self._part.truncate(0)
            raise ModelError(
                f"{self._url} has more than {self._checkpoint.nbytes} bytes: it is another file. Check the address"
            )
        self._part.write(piece)
        self._part.flush()
        self._progress(self._have(), self._checkpoint.nbytes)

    def _refused(self, status: int, have: int) -> _TransferError | ModelError:
        if status == 416 and have:
            self._part.truncate(0)
            return _TransferError("the server has nothing after what is here")
        if status >= 500 or status in _RETRY_STATUSES:
            return _TransferError(f"the server answered {status}")
        return ModelError(
            f"{self._url} cannot be fetched: the server answered {status}. Check the address, or put the file at "
            f"{self._target} yourself (sha256 {self._checkpoint.sha256})"
        )


@contextlib.contextmanager
def _locked_part(target: Path) -> Iterator[BufferedRandom | None]:
    """Open and lock the part file; yields None if another process has just finished the target.

    The previous holder of the lock may have renamed or deleted the opened file, so after locking, the path must still
    lead to the same file: writing to a renamed one would damage a finished checkpoint.
    """
    path = Path(f"{target}.part")
    with contextlib.ExitStack() as stack:
        while True:
            part = stack.enter_context(path.open("a+b"))
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ModelError(f"{path} is being fetched by another process: wait for it") from None
            if _is_at(part, path):
                try:
                    yield part
                finally:
                    if _is_at(part, path) and path.stat().st_size == 0:
                        path.unlink()
                return
            if target.exists():
                yield None
                return


def _is_at(file: BufferedRandom, path: Path) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _is_complete(path: Path, checkpoint: Checkpoint) -> bool:
    if not path.is_file() or path.stat().st_size != checkpoint.nbytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == checkpoint.sha256


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return the next piece. Waiting for a whole chunk would hide a slow server's progress."""
    try:
        return response.read1(_CHUNK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise _TransferError(f"the transfer broke off ({_describe(error)})") from error


def _describe(error: object) -> str:
    """Return a network error as short text."""
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
