"""The class folders of ImageNet-1k (standard library only)."""

from functools import cache
from pathlib import Path

WNIDS = Path(__file__).with_name("imagenet_wnids.txt")


@cache
def wnid_labels() -> dict[str, int]:
    """Return the class index of each wnid of ImageNet-1k."""
    return {wnid: index for index, wnid in enumerate(WNIDS.read_text(encoding="utf-8").split())}
