"""The memory, the lock and the two wake-up descriptors that the processes of a frame ring share.

All of them are anonymous (memfd, eventfd): there is nothing to unlink, nothing is left when all processes are killed,
and /dev/shm is not used, which has only 64 MB in many containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import context, reduction
from typing import Any, Final

import numpy as np

from streamseg.errors import RingClosedError, RingError
from streamseg.frame import FrameFormat, Plane
from streamseg.ring import layout
from streamseg.ring.layout import Control

LOCK_TIMEOUT_S: Final = 5.0
"""The lock is held for microseconds; a process that holds it for seconds is stopped."""

_SNAPSHOT_TRIES: Final = 1000

_SLOTS_AT: Final = max(layout.HEADER_BYTES, mmap.ALLOCATIONGRANULARITY)  # 64 KiB pages on some aarch64 kernels


class Bell:
    """An eventfd that is readable from :meth:`ring` until :meth:`silence`.

    Args:
        fd: The eventfd; the bell owns it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def ring(self) -> None:
        """Make it readable. Never blocks."""
        with contextlib.suppress(BlockingIOError):  # the counter is at its maximum, so it is readable already
            os.eventfd_write(self.fd, 1)

    def silence(self) -> None:
        """Make it unreadable. Never blocks."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def wait(self, timeout_s: float) -> bool:
        """Return whether it is readable.

        Blocks: up to ``timeout_s``.
        """
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))


class RingMemory:
    """A header page and equal slots in one sealed memfd, with a lock that the kernel releases when its holder dies.

    The lock is a POSIX record lock, which has two traps. It belongs to the process and does not separate threads, so a
    :class:`threading.Lock` surrounds it. And it is released when the process closes *any* descriptor of the file; every
    ``mmap`` object owns one, so mappings are made once and closed only in :meth:`close`.

    Args:
        slots: Number of slots.
        slot_bytes: Size of each slot; rounded up to whole pages.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._fd = os.memfd_create("streamseg-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, self._size)
        # Sealed, so that no process can kill another with SIGBUS by shrinking the file.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, seals)
        self.frame_ready = Bell(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self.slot_free = Bell(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self._attach()
        self.commit(Control.empty(slots))

    @property
    def _size(self) -> int:
        return _SLOTS_AT + self.slots * self.slot_bytes

    def _attach(self) -> None:
        self._thread_lock = threading.Lock()
        self._closed = False
        self._header = mmap.mmap(self._fd, layout.HEADER_BYTES)
        self._maps = [self._header]
        self._pages: dict[int, Plane] = {}

    @classmethod
    def of(cls, slots: int, slot_bytes: int, fds: Sequence[int]) -> RingMemory:
        """Open the memory of another process from copies of its :attr:`fds`."""
        memory = cls.__new__(cls)
        memory._take(slots, slot_bytes, fds)
        return memory

    @property
    def fds(self) -> tuple[int, int, int]:
        """Descriptors of the memory and the two bells. Lifetime: until :meth:`close`."""
        return self._fd, self.frame_ready.fd, self.slot_free.fd

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a child process that is being spawned.

        Raises:
            RingError: no child is being spawned; a running one is given :attr:`fds`, for :meth:`of`.
        """
        if context.get_spawning_popen() is None:
            raise RingError(
                "a FrameRing can only be pickled while a child process is spawned: pass it in Process(args), "
                "or send its shape and descriptors to a running child"
            )
        self._check_open()
        return {
            "slots": self.slots,
            "slot_bytes": self.slot_bytes,
            "fds": [reduction.DupFd(fd) for fd in self.fds],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._take(state["slots"], state["slot_bytes"], [duplicate.detach() for duplicate in state["fds"]])

    def _take(self, slots: int, slot_bytes: int, fds: Sequence[int]) -> None:
        self.slots = slots
        self.slot_bytes = slot_bytes
        for fd in fds:
            os.set_inheritable(fd, False)  # inherited over exec; not to be passed on to children
        self._fd = fds[0]
        self.frame_ready = Bell(fds[1])
        self.slot_free = Bell(fds[2])
        self._attach()

    def _check_open(self) -> None:
        if self._closed:
            raise RingClosedError("the frame ring is closed")

    @contextlib.contextmanager
    def locked(self) -> Iterator[Control]:
        """Hold the ring's lock and return its state. Changes take effect by :meth:`commit`.

        Blocks: up to ``LOCK_TIMEOUT_S``.

        Raises:
            RingClosedError: the ring is closed.
            RingError: a stopped process holds the lock.
        """
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        if not self._thread_lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise RingError(f"a thread of this process held the frame ring's lock for {LOCK_TIMEOUT_S} s")
        try:
            self._check_open()
            self._lock_file(deadline)
            try:
                yield self._state()
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)
        finally:
            self._thread_lock.release()

    def _lock_file(self, deadline: float) -> None:
        pause_s = 20e-6
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:  # EACCES or EAGAIN: another process has it
                if time.monotonic() > deadline:
                    raise RingError(
                        f"another process held the frame ring's lock for {LOCK_TIMEOUT_S} s: it is stopped; kill it"
                    ) from error
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 1e-3)
            else:
                return

    def _state(self) -> Control:
        control = self._read_active()
        if control is None:
            raise RingError("the frame ring's control block is corrupt: restart the daemon")
        return control

    def _read_active(self) -> Control | None:
        at = layout.CONTROL_AT[self._header[layout.SELECTOR_AT]]
        return Control.unpack(self._header[at : at + layout.control_bytes(self.slots)])

    def commit(self, control: Control) -> None:
        """Replace the ring's state atomically. Requires the lock."""
        other = 1 - self._header[layout.SELECTOR_AT]
        data = control.pack()
        at = layout.CONTROL_AT[other]
        self._header[at : at + len(data)] = data
        self._header[layout.SELECTOR_AT] = other

    def snapshot(self) -> Control:
        """Return a consistent copy of the state without taking the lock, so that no stopped process delays the caller.

        A copy that was overwritten while it was read fails its checksum and is read again.

        Raises:
            RingError: the ring is closed.
        """
        self._check_open()
        for _ in range(_SNAPSHOT_TRIES):
            control = self._read_active()
            if control is not None:
                return control
        raise RingError("the frame ring's control block is corrupt: restart the daemon")

    def read_meta(self, slot: int) -> bytes:
        """Return the description of the frame in ``slot``. Requires holding the slot."""
        at = layout.META_AT + slot * layout.META_BYTES
        return self._header[at : at + layout.META_BYTES]

    def write_meta(self, slot: int, meta: bytes) -> None:
        """Write the description of the frame in ``slot``. Requires writing the slot."""
        at = layout.META_AT + slot * layout.META_BYTES
        self._header[at : at + layout.META_BYTES] = meta

    def planes(self, slot: int, frame_format: FrameFormat, *, writable: bool) -> tuple[Plane, ...]:
        """Return the planes of the frame in ``slot`` as views of the shared memory.

        Read-only views use a mapping that the kernel protects against writes.
        """
        pages = self._slots_mapped(writable)
        offset = slot * self.slot_bytes
        planes = []
        for rows, row_bytes in frame_format.plane_shapes:
            end = offset + rows * row_bytes
            planes.append(pages[offset:end].reshape(rows, row_bytes))
            offset = end
        return tuple(planes)

    def _slots_mapped(self, writable: bool) -> Plane:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        with self._thread_lock:
            self._check_open()
            if access not in self._pages:
                size = self.slots * self.slot_bytes
                pages = mmap.mmap(self._fd, size, access=access, offset=_SLOTS_AT)
                # frombuffer, not ndarray(buffer=...): only the former keeps the mapping alive while views exist.
                self._pages[access] = np.frombuffer(pages, np.uint8)
                self._maps.append(pages)
            return self._pages[access]

    def close(self) -> None:
        """Close this process's descriptors and mappings. Safe to call twice.

        A mapping with NumPy views is unmapped with the last view.
        """
        with self._thread_lock:
            if self._closed:
                return
            self._closed = True
            self._pages.clear()
            while self._maps:
                with contextlib.suppress(BufferError):
                    self._maps.pop().close()
            for fd in self.fds:
                os.close(fd)
