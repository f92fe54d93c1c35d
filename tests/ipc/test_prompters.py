"""The sockets between the worker and the prompters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamseg.ipc.prompters import (
    MAX_MASK_BYTES,
    CheckedProposal,
    PrompterHub,
    PrompterSocket,
    Proposals,
    ProposedMask,
)


def test_invalid_messages_end_a_turn_and_are_counted(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/hub"
    hub, prompter = PrompterHub(endpoint), PrompterSocket(endpoint, "cam", "mine")
    try:
        assert prompter.socket.poll(5000, 2)  # POLLOUT: connected
        for _ in range(5):
            prompter.socket.send(b"nonsense")
        assert prompter.send(Proposals(7, []))
        seen = 0
        while seen < 5:
            assert hub.socket.poll(5000)
            assert list(hub.take(1)) == []
            seen += 1
        assert hub.invalid.count == 5
        assert hub.socket.poll(5000)
        assert list(hub.take(16)) == [("cam", "mine", Proposals(7, []))]
    finally:
        prompter.close()
        hub.close()


def test_as_many_masks_as_are_allowed_arrive(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/hub"
    hub, prompter = PrompterHub(endpoint), PrompterSocket(endpoint, "cam", "mine")
    bits = memoryview(np.full(MAX_MASK_BYTES // 4, 0xA5, np.uint8).tobytes())
    sent = [CheckedProposal(0.5, "x" * 100, "y" * 100, mask=ProposedMask((0, 0, 8, len(bits)), bits)) for _ in range(4)]
    try:
        assert prompter.socket.poll(5000, 2)
        assert prompter.send(Proposals(7, sent))
        assert hub.socket.poll(10_000)
        ((_, _, received),) = hub.take(16)
        assert isinstance(received, Proposals)
        assert received == Proposals(7, sent)
    finally:
        prompter.close()
        hub.close()
