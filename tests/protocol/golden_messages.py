"""One message of every type, with fixed content. Run as a script to rewrite the golden files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from streamseg.ipc.messages import StreamEvent, TrackedFrame, TrackedObject
from streamseg.protocol.published import DaemonStatus, Status
from streamseg.publish.stream_encoder import Origin, StreamEncoder

FOLDER = Path(__file__).with_name("golden")
ORIGIN = Origin(session="9f1c2e4a", publisher="00c0ffee", clock="5ca1ab1e", model="sam2.1_hiera_small")
JPEG = b"\xff\xd8\xff\xe0 stands for a JPEG \xff\xd9"

CUP = np.array([[0, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 1, 1], [0, 1, 1, 1, 1]], bool)
CAT = np.ones((3, 9), bool)
FULL = {1: ((16, 10), (3, 2), CUP), 2: ((16, 10), (7, 7), CAT), 3: ((16, 10), (0, 0), np.zeros((0, 0), bool))}
"""Object -> size of the frame, where its mask is pasted, its mask."""


def full_mask(obj_id: int) -> np.ndarray:
    (width, height), (x, y), crop = FULL[obj_id]
    mask = np.zeros((height, width), bool)
    mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return mask


def tracked_frame() -> TrackedFrame:
    def seen(obj_id, label, score, logits):
        _, (x, y), mask = FULL[obj_id]
        rows, columns = np.nonzero(mask)
        return TrackedObject(
            obj_id=obj_id,
            label=label,
            state="tracked",
            iou_prediction=score,
            object_score_logits=logits,
            roi=(x, y, mask.shape[1], mask.shape[0]),
            area=int(mask.sum()),
            centroid=(x + float(columns.mean()), y + float(rows.mean())),
            bits=np.packbits(mask, axis=1).tobytes(),
        )

    unseen = TrackedObject(3, "", "occluded", 0.25, -3.5, (0, 0, 0, 0), 0, (0.0, 0.0), b"")
    return TrackedFrame(
        stream="cam1",
        frame_id=1240,
        epoch=3,
        size=(16, 10),
        t_wall_ns=1_790_000_000_123_456_789,
        t_source="rtcp",
        t_captured_ns=998_877_665_544_332,
        t_decoded_ns=998_877_669_000_000,
        t_tracked_ns=998_877_699_000_000,
        pts=8_123_456,
        time_base=(1, 90_000),
        dropped=6,
        slot=-1,
        objects=[seen(1, "cup", 0.91234567, 1.9), seen(2, "chat é", 1.02, 40.0), unseen],
    )


def encoder(stream: str = "cam1", encoding: str = "coco_rle") -> StreamEncoder:
    return StreamEncoder(stream, ORIGIN, encoding, now_ns=lambda: 998_877_700_000_000)


def messages() -> dict[str, list[bytes]]:
    """Name of the golden file -> parts."""
    frame = tracked_frame()
    one = encoder()
    daemon = encoder("_daemon")
    second, repeating, reset, aspect = encoder(), encoder(), encoder(), encoder()
    second.objects(frame)
    confident, uncertain = encoder(), encoder()
    first, other, unseen = frame.objects
    replaced = msgspec.structs.replace
    judged = replaced(
        frame,
        objects=[
            replaced(first, confidence=0.98765432),
            replaced(other, confidence=0.21, state="uncertain"),
            replaced(unseen, confidence=0.0),
        ],
    )
    return {
        "masks_confident": confident.masks(judged),
        "objects_confident": confident.objects(judged),
        "event_uncertain": uncertain.event(
            StreamEvent(
                "cam1",
                "object_uncertain",
                1_790_000_000_200_000_000,
                3,
                1240,
                2,
                "chat é",
                t_mono_ns=998_877_800_000_000,
            )
        ),
        "masks_coco_rle": one.masks(frame),
        "objects": one.objects(frame),
        "objects_second": second.objects(frame),
        "objects_repeated": repeating.objects(msgspec.structs.replace(frame, repeats=1237)),
        "objects_aspect": aspect.objects(msgspec.structs.replace(frame, sample_aspect=(16, 11))),
        "image": one.image(frame, JPEG),
        "event_object": one.event(
            StreamEvent(
                "cam1",
                "object_lost",
                1_790_000_000_200_000_000,
                3,
                1240,
                2,
                "chat é",
                "not seen for 3 s",
                t_mono_ns=998_877_800_000_000,
            )
        ),
        "event_reset": reset.event(
            StreamEvent(
                "cam1",
                "tracker_reset",
                1_790_000_000_250_000_000,
                4,
                1241,
                detail="epoch 4 began",
                t_mono_ns=998_877_850_000_000,
                objects=[1, 2, 3],
            )
        ),
        "event_daemon": daemon.event(
            StreamEvent("_daemon", "worker_restarted", 1_790_000_000_300_000_000, t_mono_ns=998_877_900_000_000)
        ),
        "status": one.status(
            Status(
                stream="cam1",
                session=ORIGIN.session,
                publisher=ORIGIN.publisher,
                seq=0,
                t_wall_ns="1790000000400000000",
                state="streaming",
                source="rtsp://user:***@camera/stream",
                size=(16, 10),
                fps_in=29.97,
                fps_out=24.0,
                frames=1241,
                tracked=1135,
                drops={"ring/superseded": 6},
                reconnects=2,
                epoch=3,
                objects=3,
                latency_ms={"decode": 3.456, "track": 30.0, "publish": 1.0, "total": 34.456},
                published={"masks": 1234},
                subscribed=["masks", "status"],
                repeated=100,
            )
        ),
        "daemon_status": daemon.status(
            DaemonStatus(
                session=ORIGIN.session,
                publisher=ORIGIN.publisher,
                seq=0,
                t_wall_ns="1790000000400000000",
                clock=ORIGIN.clock,
                version="0.1.0",
                model=ORIGIN.model,
                device="cpu",
                uptime_s=12.5,
                streams=["cam1"],
                processes={"publisher": "ready", "worker": "ready", "capture:cam1": "ready"},
                restarts={"worker": 1},
            )
        ),
    }


def pack(parts: list[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def unpack(data: bytes) -> list[bytes]:
    parts = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        parts.append(data[4:end])
        data = data[end:]
    return parts


def read(name: str) -> list[bytes]:
    """Return the parts of a golden file."""
    return unpack((FOLDER / f"{name}.bin").read_bytes())


def main() -> None:
    for name, parts in messages().items():
        (FOLDER / f"{name}.bin").write_bytes(pack(parts))
    # Its compressed bytes depend on the version of zstd, so it is only ever read.
    (FOLDER / "masks_bits_zstd.bin").write_bytes(pack(encoder(encoding="bits_zstd").masks(tracked_frame())))


if __name__ == "__main__":
    main()
