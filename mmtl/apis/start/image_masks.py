"""Images with masks: the same path below folders such as ``images`` and ``masks``."""

import re
from collections.abc import Sequence
from pathlib import Path

from mmtl.apis.start.found_images import FoundImages
from mmtl.apis.start.layouts import layout_hint, without_ending
from mmtl.apis.start.split import HELD_OUT, TRAIN, Split, stratified_split
from mmtl.apis.start.split_lists import listed_split
from mmtl.utils.text import shorten

# Of lowercase letters and digits only: "Ground_Truth" is "groundtruth".
IMAGE_FOLDERS = """
    images image imgs img photos photo pictures rgb jpegimages input inputs pics frames raw rawimages originals
    originalimages leftimg8bit
""".split()
MASK_FOLDERS = """
    masks mask annotations annotation annots annot anns ann annos anno labels label lbls lbl gts gt gtfine
    groundtruths groundtruth targets target segmentations segmentation segmentationclass segmentationmasks segs
    seg segmaps segmasks maskimages labelimages labelmaps colormasks indexmasks semantic
""".split()


def find_pairs(root: Path, keys: Sequence[str], val_share: float) -> FoundImages | None:
    """Return the images with masks, if any, split by folders such as ``train`` and ``val``, or by lists."""
    pairs, without_mask, without_image = match_masks(keys)
    if not pairs:
        check_mask_names(root, keys, without_mask, without_image)
        return None
    parts = {pair: {part.lower() for part in Path(pair[0]).parent.parts} for pair in pairs}
    train = [pair for pair in pairs if parts[pair] & set(TRAIN)]
    val = next((found for name in HELD_OUT if (found := [pair for pair in pairs if name in parts[pair]])), [])
    others = [pair for pair in pairs if not parts[pair] & {*TRAIN, *HELD_OUT}]
    beside = sorted({str(Path(image).parent) for image, _ in others}) if train else []
    train = train or (others if val else [])
    split, note = listed_split(root, pairs)
    if train and val:
        split, note = Split(train, val), note and "train.txt and val.txt are not used: the folders have a split"
    elif split:
        beside = []
    return FoundImages(
        root,
        split or stratified_split(train or pairs, val_share, by_label=False),
        has_val=bool(split),
        beside=beside,
        lists=note,
        without_mask=without_mask,
        without_image=without_image,
    )


def match_masks(keys: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Return (image, mask) of all images with a mask, the other images, and the other masks.

    A mask has the path of its image, below a folder such as ``masks`` in place of one such as ``images``.
    """
    images: dict[tuple[str, ...], str] = {}
    masks: dict[tuple[str, ...], str] = {}
    for key in keys:
        parts = Path(key).with_suffix("").parts
        for index, part in enumerate(parts[:-1]):
            name = letters(part)
            kind = images if name in IMAGE_FOLDERS else masks if name in MASK_FOLDERS else None
            if kind is not None:
                stem = parts[-1].lower().removesuffix("_leftimg8bit")  # of Cityscapes
                kind.setdefault((*parts[:index], *parts[index + 1 : -1], stem), key)
                break
    names = [name for name in masks if name not in images]
    for name in sorted(names, key=lambda name: "trainids" not in name[-1]):  # preferred to other indices
        masks.setdefault((*name[:-1], without_ending(name[-1])), masks.pop(name))
    pairs = [(images[name], masks[name]) for name in sorted(images.keys() & masks.keys())]
    alone = (sorted(each[name] for name in each.keys() - other) for each, other in ((images, masks), (masks, images)))
    return pairs, *alone


def letters(folder: str) -> str:
    """Return a folder's name in lowercase letters and digits, without what separates its words."""
    return re.sub(r"[\W_]", "", folder.lower())


def check_mask_names(root: Path, keys: Sequence[str], images: Sequence[str], masks: Sequence[str]) -> None:
    """Raise a ValueError if files without a partner fill folders of images and masks, not folders of classes."""
    folders = {letters(part) for key in images for part in Path(key).parent.parts}
    is_flat = folders <= {*TRAIN, *HELD_OUT, *IMAGE_FOLDERS} and len({key.split("/")[0] for key in images}) == 1
    if images and set(keys) == {*images, *masks} and (masks or is_flat):
        stem = Path(images[0]).stem
        raise ValueError(
            f"{root}: masks are missing: {images[0]} must have a mask {stem}.png or {stem}_mask.png in a folder "
            f"such as masks/, got {shorten(masks, 3) or 'no mask'}."
            + (layout_hint(root, keys) or " `mmtl convert_masks` makes masks of polygons.")
        )
