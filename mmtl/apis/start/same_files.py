"""Images that are in the training and in the validation part."""

from pathlib import Path

from mmtl.apis.start.near_duplicates import byte_identical
from mmtl.apis.start.split import Split


def in_both_parts(root: Path, split: Split) -> list[tuple[str, str]]:
    """Return the validation images that have the same content as a training image, each with one of these first."""
    keys = [key for key, _ in [*split.train, *split.val]]
    count, pairs = len(split.train), []
    for copies in byte_identical([root / key for key in keys]):
        if copies[0] < count:  # indices are in ascending order
            pairs += [(keys[copies[0]], keys[index]) for index in copies if index >= count]
    return pairs


def leak_warning(root: Path, split: Split) -> list[str]:
    """Return a line for the user about images in both parts, if there are any."""
    if not (pairs := in_both_parts(root, split)):
        return []
    return [
        f"WARNING: {len(pairs)} of {len(split.val)} validation images are also training images, such as "
        f"{' and '.join(pairs[0])}, which makes results look too good. Remove them from one part"
    ]
