"""Writes a small ONNX model of the YOLO form, byte by byte: the package `onnx` is not needed for that.

It finds strong red and blue: each cell of 32 pixels is a detection whose scores are those of its mean color.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

CELL = 32


def varint(value: int) -> bytes:
    head = b""
    while value >= 0x80:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name: str, array: np.ndarray) -> bytes:
    kind = {"float32": 1, "int64": 7}[array.dtype.name]
    dims = b"".join(field(1, size) for size in array.shape)
    return field(5, dims + field(2, kind) + field(8, name) + field(9, array.tobytes()))


def node(kind: str, inputs: list[str], output: str, **attributes: int | list[int]) -> bytes:
    data = b"".join(field(1, name) for name in inputs) + field(2, output) + field(3, output) + field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, int):
            data += field(5, field(1, name) + field(3, value) + field(20, 2))
        else:
            data += field(5, field(1, name) + b"".join(field(8, one) for one in value) + field(20, 7))
    return field(1, data)


def value_info(number: int, name: str, shape: list[int]) -> bytes:
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))


def write_model(path: Path, *, size: int = 320, layout: str = "classes", names: str = "") -> Path:
    """Write a model with two classes, red and blue."""
    cells = size // CELL
    count = cells * cells
    rows, columns = np.divmod(np.arange(count), cells)
    boxes = np.stack([columns * CELL + CELL / 2, rows * CELL + CELL / 2, *[np.full(count, CELL)] * 2])
    extra = np.ones((1, int(layout == "box_and_classes"), count))
    constant = np.concatenate([boxes[None], extra], axis=1).astype(np.float32)
    weights = np.array([[9, -9, -9], [-9, -9, 9]], np.float32).reshape(2, 3, 1, 1)
    nodes = node("AveragePool", ["images"], "mean", kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    nodes += node("Conv", ["mean", "weights", "bias"], "logits") + node("Sigmoid", ["logits"], "cells")
    nodes += node("Reshape", ["cells", "shape"], "scores")
    nodes += node("Concat", ["constant", "scores"], "columns" if layout != "classes" else "output", axis=1)
    values = 6 if layout == "classes" else 7
    out = [1, values, count]
    if layout == "box_and_classes":
        nodes += node("Transpose", ["columns"], "output", perm=[0, 2, 1])
        out = [1, count, values]
    graph = nodes + field(2, "tiny")
    graph += tensor("weights", weights) + tensor("bias", np.full(2, -2, np.float32)) + tensor("constant", constant)
    graph += tensor("shape", np.array([1, 2, count], np.int64))
    graph += value_info(11, "images", [1, 3, size, size]) + value_info(12, "output", out)
    model = field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))
    if names:
        model += field(14, field(1, "names") + field(2, names)) + field(
            14, field(1, "imgsz") + field(2, f"[{size}, {size}]")
        )
    path.write_bytes(model)
    return path
