from __future__ import annotations

import os
from pathlib import Path

from streamseg.ipc.saved_prompts import SavedObject, SavedPrompt, SavedStream
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


def test_text_that_is_not_unicode_keeps_no_stream_from_being_saved():
    read = decode_record(encode_record(record({"source": "caf\udce9.mp4"})))
    assert read.streams["cam"].settings == {"source": "caf\\xe9.mp4"}


def test_a_mask_file_whose_path_is_not_utf_8_is_found_again():
    prompt = SavedPrompt(mask=Path(os.fsdecode(b"/caf\xe9/mask.png")))
    saved = SavedStream((SavedObject(1, "", (prompt,)),))
    stream = StreamRecord(source="x", settings=None, configured=(), saved=SavedObjects.of(saved))
    read = decode_record(encode_record(DaemonRecord(config="c.yaml", streams={"cam": stream})))
    assert read.streams["cam"].saved.stream() == saved
