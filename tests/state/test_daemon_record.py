from __future__ import annotations

import pytest

from streamseg.errors import StateError
from streamseg.ipc.saved_prompts import SavedStream
from streamseg.state.daemon_record import DaemonRecord, StreamRecord, decode_record, encode_record, source_digest
from streamseg.state.stream_snapshot import SavedObjects


def record(settings: dict[str, str] | None) -> DaemonRecord:
    stream = StreamRecord(
        source=source_digest("caf\udce9.mp4"), settings=settings, configured=(), saved=SavedObjects.of(SavedStream())
    )
    return DaemonRecord(config="c.yaml", streams={"cam": stream})


def test_a_source_that_is_not_utf_8_has_a_digest_of_its_own():
    assert decode_record(encode_record(record(None))) == record(None)
    assert source_digest("caf\udce9.mp4") != source_digest("caf\udce8.mp4")


def test_settings_that_are_not_unicode_are_a_state_error_without_their_text():
    with pytest.raises(StateError) as caught:
        encode_record(record({"source": "rtsp://me:secret\ud800@host/"}))
    assert "secret" not in str(caught.value)
