"""The cost of encoding and decoding the masks of a frame: 20 objects of 5 % of a 1080p picture each, on one core.

The code of the daemon and of the client is measured as it is used: a mask arrives from the tracker as packed bits
of its box, is encoded once by the publisher, and is decoded by a subscriber to its crop. Times are CPU time of this
thread, which other programs disturb less than wall time.

    python bench/codec.py
    python bench/codec.py --objects 5 --share 0.02 --noise 0.001

Masks are blobs with a wavy outline. `--noise` flips pixels at random: more and shorter runs.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from hardware import processor

from streamseg.protocol.mask_codec import BoolMask, decode_mask, encode_bits
from streamseg.protocol.rle_encoders import encode_with_numpy

WIDTH, HEIGHT = 1920, 1080
WAVES = 9


def blob(share: float, seed: int, noise: float) -> BoolMask:
    """Return the crop of a mask that covers about a share of the picture."""
    rng = np.random.default_rng(seed)
    radius = math.sqrt(share * WIDTH * HEIGHT / math.pi)
    side = int(2.4 * radius)
    rows, columns = np.mgrid[:side, :side] - side / 2
    angle = np.arctan2(rows, columns)
    waves = sum(rng.uniform(0, 0.05) * np.cos(wave * angle + rng.uniform(0, 6.3)) for wave in range(2, WAVES))
    mask = np.hypot(rows, columns) < radius * (1 + waves)
    mask ^= rng.random(mask.shape) < noise
    inside = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.ascontiguousarray(mask[inside[0][0] : inside[0][-1] + 1, inside[1][0] : inside[1][-1] + 1])


def cpu_ms(work: Callable[[], object], rounds: int) -> float:
    """Return the median CPU time of some work."""
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        times.append(1000 * (time.thread_time() - began))
    return statistics.median(times)


def arms() -> dict[str, tuple[str, Callable[[bytes, tuple[int, int]], bytes]]]:
    """Return the encodings and their encoders, as far as their packages are installed."""
    import cv2
    from pycocotools import mask as coco

    found = {
        "coco_rle, pycocotools": ("coco_rle", _rle(lambda mask: bytes(coco.encode(cv2.transpose(mask).T)["counts"]))),
        "coco_rle, numpy alone": ("coco_rle", _rle(encode_with_numpy)),
    }
    if find_spec("rlemasklib"):
        import rlemasklib

        found["coco_rle, rlemasklib (extra fast)"] = (
            "coco_rle",
            _rle(lambda mask: bytes(rlemasklib.encode(mask)["counts"])),
        )
    if find_spec("zstandard"):
        found["bits_zstd (extra fast)"] = "bits_zstd", lambda bits, size: encode_bits(bits, size, "bits_zstd")
    return found


def _rle(encode: Callable[[np.ndarray], bytes]) -> Callable[[bytes, tuple[int, int]], bytes]:
    def run(bits: bytes, size: tuple[int, int]) -> bytes:
        rows = np.frombuffer(bits, np.uint8).reshape(size[1], -1)
        return encode(np.unpackbits(rows, axis=1, count=size[0]))

    return run


def decode_all(data: list[bytes], sizes: list[tuple[int, int]], encoding: str) -> list[BoolMask]:
    """Decode each mask to its crop."""
    return [decode_mask(one, size, encoding) for one, size in zip(data, sizes, strict=True)]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.05, help="of the picture, of each object")
    parser.add_argument("--noise", type=float, default=0.0, help="share of flipped pixels")
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    masks = [blob(args.share, seed, args.noise) for seed in range(args.objects)]
    sizes = [(mask.shape[1], mask.shape[0]) for mask in masks]
    packed = [np.packbits(mask, axis=1).tobytes() for mask in masks]
    covered = sum(int(mask.sum()) for mask in masks) / len(masks) / (WIDTH * HEIGHT)
    print(
        f"{processor()}; {len(masks)} objects of {covered:.1%} of {WIDTH}x{HEIGHT} each, "
        f"{args.noise:g} of pixels flipped\n"
    )
    print("| encoding, encoder | encode ms | decode ms | decode ms without OpenCV | bytes |\n|---|---|---|---|---|")
    for name, (encoding, encode) in arms().items():

        def encode_all(encode: Callable[[bytes, tuple[int, int]], bytes] = encode) -> list[bytes]:
            return [encode(bits, size) for bits, size in zip(packed, sizes, strict=True)]

        data = encode_all()
        decode = functools.partial(decode_all, data, sizes, encoding)
        assert all(np.array_equal(one, mask) for one, mask in zip(decode(), masks, strict=True))
        times = [cpu_ms(encode_all, args.rounds), cpu_ms(decode, args.rounds)]
        loaded = sys.modules.pop("cv2")  # the decoder uses it only where a program has it
        times.append(cpu_ms(decode, args.rounds))
        sys.modules["cv2"] = loaded
        print(f"| {name} | {' | '.join(f'{each:.2f}' for each in times)} | {sum(map(len, data))} |")


if __name__ == "__main__":
    main()
