"""The byte layout of a score map in a record of fixed size, and the record's checksum."""

import reprlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mmtl.score_maps.score_map import ScoreMap

# The check word makes the weighted sum of a record's 64-bit words equal to this constant, so that a record of zeros
# is corrupt too. Odd weights: a change of any single word always changes the sum.
CHECK_SUM = np.uint64(0x9E3779B97F4A7C15)
PACKED_CLASSES = 4096  # class indices below this are packed into 12 bits in the compact format
MAX_CLASSES = 2**32 - 1
MAX_VALUES = 2**26  # scores of a map: a record then fits in NumPy's types and in a shard of the usual size
Buffer = bytes | bytearray | memoryview | np.ndarray


def quantize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantize float [B, ...] to eight bits per value with one scale and offset per row.

    Returns:
        uint8 [B, ...], scale float32 [B], offset float32 [B]; the error of `offset + scale * code` is at most
        half a scale, that is 1/510 of the row's range.
    """
    flat = values.reshape(len(values), -1).astype(np.float32)
    offset = flat.min(axis=1)
    scale = (flat.max(axis=1) - offset) / np.float32(255)
    step = np.where(scale > 0, scale, 1)
    codes = np.rint((flat - offset[:, None]) / step[:, None])
    return codes.astype(np.uint8).reshape(values.shape), scale, offset


def pack_12_bits(values: np.ndarray) -> np.ndarray:
    """Pack two values below 4096 into three bytes, little-endian. [B, n] -> uint8 [B, 3 * ceil(n / 2)]."""
    padded = np.pad(values.astype(np.uint16), ((0, 0), (0, values.shape[1] % 2)))
    first, second = padded[:, 0::2], padded[:, 1::2]
    # Bytes: low 8 bits of the first; its high 4 bits with the low 4 of the second above them; high 8 of the second.
    three = np.stack([first & 0xFF, (first >> 8) | ((second & 0xF) << 4), second >> 4], axis=-1)
    return three.astype(np.uint8).reshape(len(values), -1)


def unpack_12_bits(packed: np.ndarray, count: int) -> np.ndarray:
    """Invert `pack_12_bits`: uint8 [..., 3 * ceil(n / 2)] -> uint16 [..., n]."""
    three = packed.astype(np.uint16).reshape(*packed.shape[:-1], -1, 3)
    low, middle, high = three[..., 0], three[..., 1], three[..., 2]
    pairs = np.stack([low | ((middle & 0xF) << 8), (middle >> 4) | (high << 4)], axis=-1)
    return pairs.reshape(*packed.shape[:-1], -1)[..., :count]


@dataclass(frozen=True)
class RecordLayout:
    """The byte layout shared by all records of a store (little-endian).

    Attributes:
        num_classes: K; indices are uint16 up to 65,535 classes, else uint32.
        grid_hw: Rows and columns of a map.
        topk: Number of classes per cell.
        log_norm: Whether records contain the log-sum-exp over all K logits.
        score_bits: 16 for float16 scores; 8 for the compact format, where a map's scores are 8-bit codes with one
            scale and offset: the error is at most 1/510 of the map's score range. log_norm is stored likewise, as
            the difference from the cell's top-1 score.
    """

    num_classes: int
    grid_hw: tuple[int, int]
    topk: int
    log_norm: bool = True
    score_bits: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise ValueError(f"num_classes must be in 1..{MAX_CLASSES}, got {self.num_classes}.")
        if not 1 <= self.topk <= min(self.num_classes, 4096):
            raise ValueError(
                f"topk must be in 1..4096 and at most num_classes={self.num_classes}, got topk={self.topk}."
            )
        if not all(1 <= side <= 4096 for side in self.grid_hw):
            raise ValueError(f"grid_hw must be in 1..4096, got {self.grid_hw}.")
        if self.score_bits not in (8, 16):
            raise ValueError(f"score_bits must be 16 (float16) or 8 (compact), got score_bits={self.score_bits}.")
        if int(np.prod(self.shape_hwk, dtype=np.int64)) > MAX_VALUES:
            raise ValueError(f"A map must have at most {MAX_VALUES} scores, got {self.shape_hwk} (h, w, k).")

    @property
    def packs_classes(self) -> bool:
        """Whether class indices take 12 bits."""
        return self.score_bits == 8 and self.num_classes <= PACKED_CLASSES

    @property
    def shape_hwk(self) -> tuple[int, int, int]:
        """Shape [h, w, k] of a map's scores."""
        return (*self.grid_hw, self.topk)

    @cached_property
    def dtype(self) -> np.dtype:
        """Structured type of one record; its size is a multiple of eight bytes."""
        num_scores = int(np.prod(self.shape_hwk))
        score_type = "<f2" if self.score_bits == 16 else "u1"
        fields: list[tuple] = [("check", "<u8")]
        if self.score_bits == 8:
            fields.append(("scales", "<f4", (4,)))  # scale and offset of the scores, then of log_norm
        if self.packs_classes:
            fields.append(("classes", "u1", (3 * ((num_scores + 1) // 2),)))
        else:
            fields.append(("classes", "<u2" if self.num_classes <= 65535 else "<u4", self.shape_hwk))
        fields.append(("scores", score_type, self.shape_hwk))
        if self.log_norm:
            fields.append(("log_norm", score_type, self.grid_hw))
        if padding := -np.dtype(fields).itemsize % 8:
            fields.append(("padding", "u1", (padding,)))
        return np.dtype(fields)

    @property
    def record_bytes(self) -> int:
        """Size of one record."""
        return self.dtype.itemsize

    @cached_property
    def weights(self) -> np.ndarray:
        """Odd weights of a record's 64-bit words, uint64 [words]; the check word, the first, has the weight -1."""
        # The word's position, mixed by the finalizer of SplitMix64 (Steele et al. 2014).
        mixed = np.arange(1, self.record_bytes // 8 + 1, dtype=np.uint64) * CHECK_SUM
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        weights = mixed | np.uint64(1)
        weights[0] = np.uint64(2**64 - 1)
        return weights

    def encode(self, scores: np.ndarray, classes: np.ndarray, log_norm: np.ndarray | None) -> np.ndarray:
        """Encode a batch of maps as records, a structured array [B] of `dtype`.

        Args:
            scores: float [B, h, w, k], finite in float16, in descending order.
            classes: integer [B, h, w, k] in [0, K).
            log_norm: float [B, h, w], required if the layout contains it.

        Raises:
            ValueError: A shape, a class index or a score does not fit the layout.
        """
        scores, classes, log_norm = self._checked(scores, classes, log_norm)
        records = np.zeros(len(scores), self.dtype)
        if self.score_bits == 16:
            records["scores"] = scores
            if log_norm is not None:
                records["log_norm"] = log_norm
        else:
            scales = records["scales"]
            records["scores"], scales[:, 0], scales[:, 1] = quantize(scores)
            if log_norm is not None:
                rest = np.maximum(log_norm.astype(np.float32) - scores[..., 0], 0)
                records["log_norm"], scales[:, 2], scales[:, 3] = quantize(rest)
        records["classes"] = pack_12_bits(classes.reshape(len(classes), -1)) if self.packs_classes else classes
        # The check word is still zero, and its weight is -1: with it, the sum becomes CHECK_SUM (modulo 2^64).
        records["check"] = self.sums(records) - CHECK_SUM
        return records

    def _checked(
        self, scores: np.ndarray, classes: np.ndarray, log_norm: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Check a batch of maps and return it with scores and log_norm in float16."""
        if scores.shape[1:] != self.shape_hwk or classes.shape != scores.shape:
            raise ValueError(
                f"Scores and classes must have the store's shape [h, w, k] = {list(self.shape_hwk)},"
                f" got {scores.shape[1:]} and {classes.shape[1:]}."
            )
        if classes.dtype.kind not in "iu" and not (classes == np.floor(classes)).all():
            raise ValueError("Class indices must be integers, got fractions.")
        if classes.size and (classes.min() < 0 or classes.max() >= self.num_classes):
            raise ValueError(
                f"Class indices must be in [0, {self.num_classes}), got {classes.min()} to {classes.max()}."
            )
        if self.log_norm and (log_norm is None or log_norm.shape != scores.shape[:3]):
            got = "none" if log_norm is None else list(log_norm.shape[1:])
            raise ValueError(f"log_norm must have the shape [h, w] = {list(self.grid_hw)}, got {got}.")
        with np.errstate(over="ignore"):
            halves = scores.astype(np.float16)
            norms = log_norm.astype(np.float16) if self.log_norm else None
        if not np.isfinite(halves).all() or (norms is not None and not np.isfinite(norms).all()):
            raise ValueError("Scores and log_norm must be finite and within +-65504, the range of float16.")
        if (halves[..., 1:] > halves[..., :-1]).any():
            raise ValueError("Scores of a cell must be sorted in descending order.")
        if norms is not None and (norms < halves[..., 0]).any():
            raise ValueError("log_norm must be at least the top-1 score of its cell, as a log-sum-exp is.")
        return halves, classes, norms

    def sums(self, records: np.ndarray) -> np.ndarray:
        """Return the weighted sums of records [B], uint64 [B]; `CHECK_SUM` for intact ones."""
        return records.view("<u8").reshape(len(records), -1) @ self.weights

    def is_intact(self, record: Buffer) -> bool:
        """Return whether the checksum of a record is correct."""
        return np.frombuffer(record, "<u8").dot(self.weights) == CHECK_SUM

    def decode(self, records: Buffer, shape: tuple[int, ...] = ()) -> ScoreMap:
        """Decode records; arrays of the 16-bit format are views of them.

        Args:
            records: The bytes of one or more records.
            shape: () for one map, (B,) for a stack of B maps.
        """
        fields = np.ndarray(shape, self.dtype, records)
        if self.score_bits == 8:
            return self._decode_compact(fields)
        return ScoreMap(fields["scores"], fields["classes"], fields["log_norm"] if self.log_norm else None)

    def _decode_compact(self, fields: np.ndarray) -> ScoreMap:
        scales = np.moveaxis(fields["scales"], -1, 0)[..., None, None, None]  # [4, ..., 1, 1, 1]
        scores = (fields["scores"] * scales[0] + scales[1]).astype(np.float16)
        classes, log_norm = fields["classes"], None
        if self.packs_classes:
            classes = unpack_12_bits(classes, int(np.prod(self.shape_hwk))).reshape(scores.shape)
        if self.log_norm:
            # Added to the decoded score, so that the top-1 class keeps its probability.
            rest = fields["log_norm"] * scales[2][..., 0] + scales[3][..., 0]
            log_norm = (scores[..., 0] + rest).astype(np.float16)
        return ScoreMap(scores, classes, log_norm)


def check_fields(content: Any, kinds: dict[str, type]) -> None:
    """Check that parsed JSON has fields of these types; integers are counts below 2^48.

    Raises:
        ValueError: A field is missing or of another type.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it must be a JSON object, got {reprlib.repr(content)}.")
    for name, kind in kinds.items():
        value = content.get(name)
        if type(value) is not kind or (kind is int and not 0 <= value < 2**48):  # bool is a subclass of int
            expected = "a count" if kind is int else f"of type {kind.__name__}"
            raise ValueError(f"{name} must be {expected}, got {reprlib.repr(value)}.")


def layout_of(settings: dict[str, Any]) -> RecordLayout:
    """Return the record layout that a store's settings describe.

    Raises:
        ValueError: A field is missing or out of range.
    """
    check_fields(settings, dict(num_classes=int, grid_hw=list, topk=int, log_norm=bool, score_bits=int))
    grid_hw = settings["grid_hw"]
    if [type(side) for side in grid_hw] != [int, int]:
        raise ValueError(f"grid_hw must be two integers, got {grid_hw!r}.")
    if settings.get("score_type") != "logit":
        raise ValueError(f"score_type must be 'logit', got {settings.get('score_type')!r}.")
    others = {name: settings[name] for name in ("num_classes", "topk", "log_norm", "score_bits")}
    return RecordLayout(grid_hw=tuple(grid_hw), **others)
