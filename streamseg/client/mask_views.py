"""Converts a frame's masks for other programs: label maps, supervision, COCO, Rerun, a drawn picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamseg.errors import ConfigError
from streamseg.protocol.palette import color_of

if TYPE_CHECKING:
    import rerun
    import supervision

    from streamseg.client.results import ObjectMask

Picture = NDArray[np.uint8]

_OPACITY: Final = 0.4
_MAX_UINT16: Final = 2**16 - 1
_MAX_UINT32: Final = 2**32 - 1


class MaskViews:
    """Conversions of a frame with masks. All omit objects that are not visible.

    **Overlaps.** Masks of one frame may overlap. Where a pixel can have only one object (:meth:`label_map`,
    :meth:`overlay`, :meth:`log_rerun`), the smallest mask wins, so that a cup on a table stays visible; of equal areas,
    the younger object.
    """

    stream: str
    frame: int
    t_wall_ns: int
    size: tuple[int, int]
    objects: tuple[ObjectMask, ...]

    def label_map(self, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """Return ``[height, width]``: each pixel's object id, 0 for background; overlaps as in :class:`MaskViews`.

        Args:
            dtype: An integer type for all ids; None: ``uint16``, or a larger one for ids above 65,535.

        Raises:
            ConfigError: an id does not fit into ``dtype``, or ``dtype`` is not an integer type.
            ProtocolError: a mask cannot be decoded.
        """
        width, height = self.size
        objects = _largest_first(self.objects)
        labels = np.zeros((height, width), _label_dtype(objects) if dtype is None else dtype)
        if not np.issubdtype(labels.dtype, np.integer):
            raise ConfigError(f"dtype: {labels.dtype} is not an integer type: use np.int32")
        limit = np.iinfo(labels.dtype).max
        for obj in objects:
            if not 0 <= obj.id <= limit:
                raise ConfigError(f"dtype: object {obj.id} does not fit into {labels.dtype}: use np.int32")
            x, y, w, h = obj.roi
            labels[y : y + h, x : x + w][obj.crop] = obj.id
        return labels

    def to_supervision(self, classes: Sequence[str] | None = None) -> supervision.Detections:
        """Return the objects as ``supervision.Detections``, with ids as ``tracker_id``.

        Args:
            classes: Labels of interest: ``class_id`` is a label's index, and objects with other labels are dropped.
                None: all objects, as class 0.

        Raises:
            ConfigError: the package supervision is not installed.
            ProtocolError: a mask cannot be decoded.
        """
        try:
            import supervision as sv
        except ImportError:
            raise ConfigError("to_supervision needs the package supervision: pip install supervision") from None
        chosen = _chosen(self.objects, classes)
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (obj.bbox for obj, _ in chosen)]
        width, height = self.size
        return sv.Detections(
            xyxy=np.array(boxes, np.float64).reshape(-1, 4),
            mask=np.array([obj.mask for obj, _ in chosen], np.bool_).reshape(-1, height, width),
            confidence=np.array([_score(obj) for obj, _ in chosen], np.float64),
            class_id=np.array([number for _, number in chosen], np.int64),
            tracker_id=np.array([obj.id for obj, _ in chosen], np.int64),
            data={"class_name": np.array([obj.label or str(obj.id) for obj, _ in chosen], np.str_)},
        )

    def to_coco(self, classes: Sequence[str] | None = None, image_id: int | None = None) -> list[dict[str, Any]]:
        """Return the objects as COCO annotations, ready for ``json.dump``, with compressed RLE of the whole frame.

        Besides COCO's own fields, each has ``track_id``, ``label`` and ``score``. ``id`` is unique only in the frame.

        Args:
            classes: Labels of interest: ``category_id`` is a label's index plus 1, and objects with other labels are
                dropped. None: all objects, as category 1.
            image_id: Id of the picture; None: the frame's number.

        Raises:
            ProtocolError: a mask cannot be decoded.
        """
        annotations = []
        for number, (obj, category) in enumerate(_chosen(self.objects, classes), 1):
            rle = obj.to_coco_rle()
            counts = rle["counts"]
            assert isinstance(counts, bytes)
            annotations.append(
                {
                    "id": number,
                    "image_id": self.frame if image_id is None else image_id,
                    "category_id": category + 1,
                    "segmentation": {"size": rle["size"], "counts": counts.decode()},
                    "area": obj.area,
                    "bbox": list(obj.bbox),
                    "iscrowd": 0,
                    "track_id": obj.id,
                    "label": obj.label,
                    "score": _score(obj),
                }
            )
        return annotations

    def overlay(self, picture: Picture, opacity: float = _OPACITY) -> Picture:
        """Return a copy of a picture with the objects tinted in the colors of their ids and outlined.

        Args:
            picture: ``uint8 [height, width, 3]``, red first, of the frame's size.
            opacity: Opacity of the tint, 0 to 1.

        Raises:
            ConfigError: the picture has another size.
            ProtocolError: a mask cannot be decoded.
        """
        width, height = self.size
        if picture.shape != (height, width, 3):
            raise ConfigError(f"picture: {list(picture.shape)} is not the frame's shape, [{height}, {width}, 3]")
        drawn = picture.copy()
        for obj in _largest_first(self.objects):
            x, y, w, h = obj.roi
            color = np.array(color_of(obj.id))
            area, below = drawn[y : y + h, x : x + w], picture[y : y + h, x : x + w]
            area[obj.crop] = (below[obj.crop] * (1.0 - opacity) + color * opacity + 0.5).astype(np.uint8)
            area[_border(obj.crop)] = color
        return drawn

    def log_rerun(self, entity: str = "", recording: rerun.RecordingStream | None = None) -> None:
        """Log the label map and the objects' names and colors to Rerun, at the frame's number and capture time.

        Rerun has 65,535 classes. An object with a higher id has class ``(id - 1) % 65_535 + 1``.

        Args:
            entity: Path of the entity; empty: the stream's id.
            recording: Recording to log to; None: Rerun's current one.

        Raises:
            ConfigError: the package rerun-sdk is not installed.
            ProtocolError: a mask cannot be decoded.
        """
        try:
            import rerun as rr
        except ImportError:
            raise ConfigError("log_rerun needs the package rerun-sdk: pip install rerun-sdk") from None
        path = entity or self.stream
        rr.set_time("frame", sequence=self.frame, recording=recording)
        rr.set_time("captured", timestamp=np.datetime64(self.t_wall_ns, "ns"), recording=recording)
        names = [(_rerun_class(obj.id), obj.label or str(obj.id), color_of(obj.id)) for obj in self.objects]
        rr.log(path, rr.AnnotationContext(names), recording=recording)
        rr.log(f"{path}/masks", rr.SegmentationImage(_rerun_labels(self.label_map())), recording=recording)


def _label_dtype(objects: Sequence[ObjectMask]) -> np.dtype[Any]:
    largest = max((obj.id for obj in objects), default=0)
    return np.dtype(np.uint16 if largest <= _MAX_UINT16 else np.uint32 if largest <= _MAX_UINT32 else np.uint64)


def _rerun_class(obj_id: int) -> int:
    return (obj_id - 1) % _MAX_UINT16 + 1


def _rerun_labels(labels: NDArray[Any]) -> NDArray[np.uint16]:
    """Return labels as Rerun's classes."""
    if labels.dtype == np.uint16:
        return labels
    return np.where(labels == 0, 0, (labels - 1) % _MAX_UINT16 + 1).astype(np.uint16)


def _largest_first(objects: Sequence[ObjectMask]) -> list[ObjectMask]:
    return sorted((obj for obj in objects if obj.encoding != "none"), key=lambda obj: -obj.area)


def _chosen(objects: Sequence[ObjectMask], classes: Sequence[str] | None) -> list[tuple[ObjectMask, int]]:
    """Return the visible objects of interest, each with its class index."""
    visible = [obj for obj in objects if obj.encoding != "none"]
    if classes is None:
        return [(obj, 0) for obj in visible]
    return [(obj, classes.index(obj.label)) for obj in visible if obj.label in classes]


def _score(obj: ObjectMask) -> float:
    return obj.score if obj.confidence is None else obj.confidence


def _border(crop: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask with a background pixel beside them, above or below."""
    padded = np.pad(crop, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return crop & ~inner
