"""Detects losses between messages of the same stream and kind."""

from __future__ import annotations

from streamseg.client.results import FrameMessage, Message


class Continuity:
    """Follows the sequence numbers of one stream, kind and rate.

    A restart of the publisher or the daemon resets them: losses during the restart are unknown and not counted.

    Args:
        after: The same stream and kind at the previous rate: this one continues its frames, but not its sequence
            numbers.
    """

    def __init__(self, after: Continuity | None = None) -> None:
        self._last: Message | None = after._last if after else None
        self._changed_rate = after is not None

    def follow(self, message: Message) -> tuple[int, int] | None:
        """Process the next message.

        Returns:
            (gap, skipped): messages lost on the way, and frames without a message, since the last message; None if
            this one is not newer than the last.
        """
        last = self._last
        gap = skipped = 0
        if last is not None and message.session == last.session:
            if message.publisher == last.publisher and not self._changed_rate:
                gap = message.seq - last.seq - 1
                if gap < 0:
                    return None
            if isinstance(message, FrameMessage) and isinstance(last, FrameMessage):
                if message.frame < last.frame + self._changed_rate:
                    return None
                skipped = max(0, message.frame - last.frame - 1 - gap)
        self._last, self._changed_rate = message, False
        return gap, skipped
