"""The memory, the lock and the two bells that the processes of a frame ring share.

Everything is nameless (memfd, eventfd): nothing to unlink, nothing left behind when all processes are killed, and
no use of /dev/shm, which is 64 MB small in many containers.
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
"""The lock is held for microseconds; whoever holds it for seconds is a stopped process."""

_SNAPSHOT_TRIES: Final = 1000

_SLOTS_AT: Final = max(layout.HEADER_BYTES, mmap.ALLOCATIONGRANULARITY)  # 64 KiB pages on some aarch64 kernels


class Bell:
    """An eventfd: readable from :meth:`ring` until :meth:`silence`.

    Args:
        fd: The eventfd, which the bell then owns.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def ring(self) -> None:
        """Make it readable. Never blocks."""
        with contextlib.suppress(BlockingIOError):  # the count is at its end, hence readable already
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
    """A header page and equal slots in one sealed memfd, with a lock that dies with its holder.

    The lock is a POSIX record lock, which has traps: it belongs to the process, so that it does not keep two threads
    apart (hence a :class:`threading.Lock` around it), and it is dropped when the process closes *any* descriptor of
    the file. Every ``mmap`` object owns such a descriptor, therefore mappings are made once and closed in
    :meth:`close` alone.

    Args:
        slots: Number of slots.
        slot_bytes: Size of each; rounded up to whole pages.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._fd = os.memfd_create("streamseg-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, self._size)
        # Sealed, so that no process can make another one die of SIGBUS by shrinking the file.
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
        """Return the memory that belongs to :attr:`fds` of another process, which the caller was given copies of."""
        memory = cls.__new__(cls)
        memory._take(slots, slot_bytes, fds)
        return memory

    @property
    def fds(self) -> tuple[int, int, int]:
        """The memory and its two bells. Lifetime: until :meth:`close`."""
        return self._fd, self.frame_ready.fd, self.slot_free.fd

    def __getstate__(self) -> dict[str, Any]:
        """Return what a child needs.

        Raises:
            RingError: this is not the start of a child process; later it takes :attr:`fds` and :meth:`of`.
        """
        if context.get_spawning_popen() is None:
            raise RingError(
                "a FrameRing can only be pickled while a child process is spawned: pass it in Process(args), "
                "or its shape and descriptors later"
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
            os.set_inheritable(fd, False)  # came over an exec; this process's own children shall not get them
        self._fd = fds[0]
        self.frame_ready = Bell(fds[1])
        self.slot_free = Bell(fds[2])
        self._attach()

    def _check_open(self) -> None:
        if self._closed:
            raise RingClosedError("the frame ring is closed")

    @contextlib.contextmanager
    def locked(self) -> Iterator[Control]:
        """Hold the ring's lock and get its state; nothing of it changes but by :meth:`commit`.

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
                        f"another process held the frame ring's lock for {LOCK_TIMEOUT_S} s: it is stopped; end it"
                    ) from error
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 1e-3)
            else:
                return

    def _state(self) -> Control:
        control = self._read_active()
        if control is None:
            raise RingError("the frame ring's control block is damaged: a process wrote where it must not; restart")
        return control

    def _read_active(self) -> Control | None:
        at = layout.CONTROL_AT[self._header[layout.SELECTOR_AT]]
        return Control.unpack(self._header[at : at + layout.control_bytes(self.slots)])

    def commit(self, control: Control) -> None:
        """Make ``control`` the ring's state, all of it or nothing. Only while holding the lock."""
        other = 1 - self._header[layout.SELECTOR_AT]
        data = control.pack()
        at = layout.CONTROL_AT[other]
        self._header[at : at + len(data)] = data
        self._header[layout.SELECTOR_AT] = other

    def snapshot(self) -> Control:
        """Return the state without the lock, so that nobody's death or stop can make the caller wait.

        It is one that the ring was in: a copy that was overwritten while it was read fails its checksum and is read
        again. It may be old by the time it is looked at.

        Raises:
            RingError: the ring is closed.
        """
        self._check_open()
        for _ in range(_SNAPSHOT_TRIES):
            control = self._read_active()
            if control is not None:
                return control
        raise RingError("the frame ring's control block is damaged: a process wrote where it must not; restart")

    def read_meta(self, slot: int) -> bytes:
        """Return the description of the frame in ``slot``. Only while holding the slot."""
        at = layout.META_AT + slot * layout.META_BYTES
        return self._header[at : at + layout.META_BYTES]

    def write_meta(self, slot: int, meta: bytes) -> None:
        """Describe the frame in ``slot``. Only while writing the slot."""
        at = layout.META_AT + slot * layout.META_BYTES
        self._header[at : at + layout.META_BYTES] = meta

    def planes(self, slot: int, frame_format: FrameFormat, *, writable: bool) -> tuple[Plane, ...]:
        """Return the planes of a frame in ``slot`` as views, one after the other without gaps.

        Views that are not writable lie on a mapping that the kernel protects.
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
                # frombuffer, not ndarray(buffer=...): only the former keeps the mapping alive as long as its views.
                self._pages[access] = np.frombuffer(pages, np.uint8)
                self._maps.append(pages)
            return self._pages[access]

    def close(self) -> None:
        """Give up this process's descriptors and mappings. Safe to call twice.

        A mapping that a NumPy view still looks at goes with the last such view.
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
