"""Decide which images go into which shard, independently of the number of ranks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

TARGET_UNITS = 64
SMALLEST_UNIT = 1024


@dataclass(frozen=True)
class Plan:
    """Sorted image keys, divided into work units of `unit_size` images; one rank writes a unit as one shard."""

    keys: Sequence[str]
    unit_size: int

    @property
    def num_units(self) -> int:
        """Number of units."""
        return ceil(len(self.keys) / self.unit_size)

    def unit(self, number: int) -> range:
        """Return the indices in ``keys`` of a unit's images."""
        return range(len(self.keys))[number * self.unit_size :][: self.unit_size]

    @property
    def fingerprint(self) -> dict[str, int | str]:
        """What must be equal for one run to resume another."""
        digest = hashlib.sha256("\0".join(self.keys).encode("utf-8", "surrogateescape")).hexdigest()
        return {"images": len(self.keys), "images_per_shard": self.unit_size, "keys_sha256": digest}


def unit_size(num_images: int, record_bytes: int, shard_bytes: int) -> int:
    """Return images per unit: about 64 units, so that ranks can share them and a kill loses little."""
    return max(1, min(shard_bytes // record_bytes, max(SMALLEST_UNIT, ceil(num_images / TARGET_UNITS))))
