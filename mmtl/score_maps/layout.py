"""How one score map lies in a fixed-size record, and how a damaged record is told."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np

from mmtl.score_maps.score_map import ScoreMap

# The check word makes the weighted sum of a record's 64-bit words equal to this constant, so a record of
# zeros is damaged too. Odd weights: changing any single word always changes the sum.
CHECK_SUM = np.uint64(0x9E3779B97F4A7C15)
PACKED_CLASSES = 4096  # class indices below this are packed into 12 bits in the compact form
MAX_CLASSES = 2**32 - 1
Buffer = bytes | bytearray | memoryview | np.ndarray


def check_weights(num_words: int) -> np.ndarray:
    """Odd 64-bit weights, one per word of a record; the first belongs to the check word.

    Args:
        num_words: Length of a record in 64-bit words.

    Returns:
        uint64 [num_words], mixed from the word's position (the finaliser of SplitMix64, Steele et al. 2014).
    """
    mixed = np.arange(1, num_words + 1, dtype=np.uint64) * CHECK_SUM
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    weights = mixed | np.uint64(1)
    weights[0] = np.uint64(2**64 - 1)  # minus one
    return weights


def quantise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eight bits per value with one scale and offset per row.

    Args:
        values: float [B, ...].

    Returns:
        uint8 [B, ...], scale float32 [B], offset float32 [B]; `offset + scale * code` is off by at most
        half a scale, that is 1/510 of the row's range.
    """
    flat = values.reshape(len(values), -1).astype(np.float32)
    offset = flat.min(axis=1)
    scale = (flat.max(axis=1) - offset) / np.float32(255)
    step = np.where(scale > 0, scale, 1)
    codes = np.rint((flat - offset[:, None]) / step[:, None])
    return codes.astype(np.uint8).reshape(values.shape), scale, offset


def pack_12_bits(values: np.ndarray) -> np.ndarray:
    """Two values below 4096 in three bytes. [B, n] -> uint8 [B, 3 * ceil(n / 2)]."""
    padded = np.pad(values.astype(np.uint16), ((0, 0), (0, values.shape[1] % 2)))
    first, second = padded[:, 0::2], padded[:, 1::2]
    three = np.stack([first & 0xFF, (first >> 8) | ((second & 0xF) << 4), second >> 4], axis=-1)
    return three.astype(np.uint8).reshape(len(values), -1)


def unpack_12_bits(packed: np.ndarray, count: int) -> np.ndarray:
    """Inverse of `pack_12_bits`: uint8 [..., 3 * ceil(n / 2)] -> uint16 [..., n]."""
    three = packed.astype(np.uint16).reshape(*packed.shape[:-1], -1, 3)
    low, middle, high = three[..., 0], three[..., 1], three[..., 2]
    pairs = np.stack([low | ((middle & 0xF) << 8), (middle >> 4) | (high << 4)], axis=-1)
    return pairs.reshape(*packed.shape[:-1], -1)[..., :count]


@dataclass(frozen=True)
class RecordLayout:
    """The byte layout shared by all records of a store (little-endian).

    Attributes:
        num_classes: K, up to 65,535 with uint16 indices, above with uint32.
        grid_hw: Rows and columns of a map.
        topk: Classes kept per cell.
        log_norm: Whether records hold the log-sum-exp over all K logits.
        score_bits: 16 for float16 scores; 8 for the compact form, where a map's scores are 8-bit codes with one
            scale and offset, off by at most 1/510 of the map's score range. log_norm is kept likewise, as its
            distance from the cell's best score.
    """

    num_classes: int
    grid_hw: tuple[int, int]
    topk: int
    log_norm: bool = True
    score_bits: int = 16

    def __post_init__(self) -> None:
        height, width = self.grid_hw
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise ValueError(f"num_classes={self.num_classes}: between 1 and {MAX_CLASSES} is wanted.")
        if not 1 <= self.topk <= self.num_classes:
            raise ValueError(
                f"topk={self.topk} of {self.num_classes} classes: choose topk between 1 and the class count."
            )
        if not (1 <= height <= 4096 and 1 <= width <= 4096 and self.topk <= 4096):
            raise ValueError(f"grid_hw={self.grid_hw}, topk={self.topk}: each is wanted in 1..4096.")
        if self.score_bits not in (8, 16):
            raise ValueError(f"score_bits={self.score_bits}: 16 (float16) or 8 (compact) is wanted.")

    @property
    def class_dtype(self) -> np.dtype:
        """uint16 up to 65,535 classes, else uint32."""
        return np.dtype("<u2" if self.num_classes <= 65535 else "<u4")

    @property
    def packs_classes(self) -> bool:
        """Whether class indices take 12 bits."""
        return self.score_bits == 8 and self.num_classes <= PACKED_CLASSES

    @cached_property
    def dtype(self) -> np.dtype:
        """Structured type of one record; its size is a multiple of eight bytes."""
        shape_hwk = (*self.grid_hw, self.topk)
        cells = int(np.prod(shape_hwk))
        score_type = "<f2" if self.score_bits == 16 else "u1"
        fields: list[tuple] = [("check", "<u8")]
        fields += [("scales", "<f4", (4,))] if self.score_bits == 8 else []
        fields += [
            ("classes", "u1", (3 * ((cells + 1) // 2),))
            if self.packs_classes
            else ("classes", self.class_dtype, shape_hwk),
            ("scores", score_type, shape_hwk),
        ]
        fields += [("log_norm", score_type, self.grid_hw)] if self.log_norm else []
        padding = -np.dtype(fields).itemsize % 8
        return np.dtype(fields + ([("padding", "u1", (padding,))] if padding else []))

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of the record's check, uint64 [words]."""
        return check_weights(self.record_bytes // 8)

    @property
    def record_bytes(self) -> int:
        """Size of one record."""
        return self.dtype.itemsize

    def encode(self, scores: np.ndarray, classes: np.ndarray, log_norm: np.ndarray | None) -> np.ndarray:
        """Lay a batch of maps out as records.

        Args:
            scores: float [B, h, w, k], finite in float16, best first.
            classes: integer [B, h, w, k] in [0, K).
            log_norm: float [B, h, w], required if the layout holds it.

        Returns:
            Structured array [B] of `dtype`.

        Raises:
            ValueError: A shape, a class index or a score does not fit the layout.
        """
        scores, classes, log_norm = self._checked(scores, classes, log_norm)
        records = np.zeros(len(scores), self.dtype)
        if self.score_bits == 8:
            records["scores"], records["scales"][:, 0], records["scales"][:, 1] = quantise(scores)
            if log_norm is not None:
                rest = np.maximum(log_norm.astype(np.float32) - scores[..., 0], 0)
                records["log_norm"], records["scales"][:, 2], records["scales"][:, 3] = quantise(rest)
        else:
            records["scores"] = scores
            if log_norm is not None:
                records["log_norm"] = log_norm
        records["classes"] = pack_12_bits(classes.reshape(len(classes), -1)) if self.packs_classes else classes
        words = records.view("<u8").reshape(len(records), -1)
        records["check"] = (words * self.weights).sum(axis=1, dtype=np.uint64) - CHECK_SUM
        return records

    def _checked(
        self, scores: np.ndarray, classes: np.ndarray, log_norm: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        shape_hwk = (*self.grid_hw, self.topk)
        if scores.shape[1:] != shape_hwk or classes.shape != scores.shape:
            raise ValueError(
                f"Score maps of {scores.shape[1:]} with classes of {classes.shape[1:]}: this store holds"
                f" [h, w, k] = {list(shape_hwk)}."
            )
        if classes.size and (classes.min() < 0 or classes.max() >= self.num_classes):
            raise ValueError(
                f"Class indices from {classes.min()} to {classes.max()}: this store has {self.num_classes} classes."
            )
        if self.log_norm and (log_norm is None or log_norm.shape != scores.shape[:3]):
            raise ValueError(f"log_norm of shape [h, w] = {list(self.grid_hw)} is wanted, one per map.")
        with np.errstate(over="ignore"):
            halves = scores.astype(np.float16)
            norms = log_norm.astype(np.float16) if self.log_norm else None
        if not np.isfinite(halves).all() or (norms is not None and not np.isfinite(norms).all()):
            raise ValueError("Scores that are NaN or beyond +-65504, the range of float16, cannot be stored.")
        if (halves[..., 1:] > halves[..., :-1]).any():
            raise ValueError("Scores are not sorted: within a cell the best class comes first.")
        return halves, classes, norms

    def is_whole(self, record: Buffer) -> bool:
        """Whether the check of a record's bytes holds."""
        return np.frombuffer(record, "<u8").dot(self.weights) == CHECK_SUM

    def decode(self, records: Buffer, shape: tuple[int, ...] = ()) -> ScoreMap:
        """Read whole records; arrays of the 16-bit form are views of them.

        Args:
            records: The bytes of one record, or of several.
            shape: () for one map, (B,) for a stack of B maps.
        """
        fields = np.ndarray(shape, self.dtype, records)
        if self.score_bits == 8:
            return self._decode_compact(fields)
        return ScoreMap(fields["scores"], fields["classes"], fields["log_norm"] if self.log_norm else None)

    def reader(self) -> Callable[[Buffer], ScoreMap]:
        """`decode` for one map at a time, in half its time for the form that most stores have."""
        if self.score_bits == 8 or not self.log_norm:
            return self.decode
        dtype, parts, new = self.dtype, itemgetter(*ScoreMap._fields), tuple.__new__

        def read(record: Buffer) -> ScoreMap:
            return new(ScoreMap, parts(np.ndarray((), dtype, record)))

        return read

    def _decode_compact(self, fields: np.ndarray) -> ScoreMap:
        scales = np.moveaxis(fields["scales"], -1, 0)[..., None, None, None]
        shape_hwk = (*fields.shape, *self.grid_hw, self.topk)
        classes = fields["classes"]
        if self.packs_classes:
            classes = unpack_12_bits(classes, int(np.prod(shape_hwk[-3:]))).reshape(shape_hwk)
        scores = (fields["scores"] * scales[0] + scales[1]).astype(np.float16)
        log_norm = None
        if self.log_norm:
            # Added to the score as it is given, so that the best class keeps its probability.
            rest = fields["log_norm"] * scales[2][..., 0] + scales[3][..., 0]
            log_norm = (scores[..., 0] + rest).astype(np.float16)
        return ScoreMap(scores, classes, log_norm)


def layout_of(settings: dict[str, Any]) -> RecordLayout:
    """The record layout that the settings describe.

    Raises:
        ValueError: A field is missing or out of range.
    """
    grid_hw = settings.get("grid_hw")
    if not isinstance(grid_hw, list) or [type(side) for side in grid_hw] != [int, int]:
        raise ValueError(f"grid_hw={grid_hw!r}: two integers are wanted")
    numbers = {name: settings.get(name) for name in ("num_classes", "topk", "score_bits")}
    for name, value in numbers.items():
        if type(value) is not int:
            raise ValueError(f"{name}={value!r}: an integer is wanted")
    if type(settings.get("log_norm")) is not bool:
        raise ValueError(f"log_norm={settings.get('log_norm')!r}: true or false is wanted")
    if settings.get("score_type") != "logit":
        raise ValueError(f"score_type={settings.get('score_type')!r}: 'logit' is wanted")
    return RecordLayout(grid_hw=(grid_hw[0], grid_hw[1]), log_norm=settings["log_norm"], **numbers)
