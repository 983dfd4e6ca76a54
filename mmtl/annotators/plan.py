"""Which images go into which shard, the same for any number of processes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

WANTED_UNITS = 64
SMALLEST_UNIT = 1024


@dataclass(frozen=True)
class Plan:
    """Sorted keys cut into work units of equal size; each unit becomes one shard, made by one process.

    Attributes:
        keys: All image keys, sorted.
        unit_size: Images per unit.
    """

    keys: Sequence[str]
    unit_size: int

    @property
    def num_units(self) -> int:
        """Number of units."""
        return ceil(len(self.keys) / self.unit_size)

    def unit(self, number: int) -> range:
        """Positions of a unit's images in `keys`."""
        start = number * self.unit_size
        return range(start, min(start + self.unit_size, len(self.keys)))

    @property
    def fingerprint(self) -> dict[str, int | str]:
        """What two runs must share to continue each other."""
        digest = hashlib.sha256("\0".join(self.keys).encode("utf-8", "surrogateescape")).hexdigest()
        return {"images": len(self.keys), "images_per_shard": self.unit_size, "keys_sha256": digest}


def unit_size(num_images: int, record_bytes: int, shard_bytes: int) -> int:
    """Images per unit: about 64 units to share out and to lose little by, none beyond `shard_bytes`."""
    return max(1, min(shard_bytes // record_bytes, max(SMALLEST_UNIT, ceil(num_images / WANTED_UNITS))))
