"""The lists train.txt and val.txt: those of PASCAL VOC in ImageSets/Segmentation/, and those of `mmtl start`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mmtl.apis.start.split import Split
from mmtl.apis.start.written import MARKER
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.image_files import files_under, is_hidden

LISTS = ("train.txt", "val.txt")
MIN_SHARE = 0.5  # of the names in lists that must be those of pairs

Pair = tuple[str, str]  # image and mask


def listed_split(root: Path, pairs: Sequence[Pair]) -> tuple[Split | None, str]:
    """Return the split by the lists that name pairs, if there are such lists, and a line for the user about lists.

    Args:
        root: folder.
        pairs: paths of images and masks below it.
    """
    files = [Path(key) for key in sorted(files_under(root)) if Path(key).name in LISTS and not is_hidden(key)]
    files = [file for file in files if not (root / file).with_name(MARKER).exists()]  # not those of `mmtl start`
    if not files:
        return None, ""
    folders = dict.fromkeys(file.parent for file in files)
    folders = [folder for folder in folders if all(folder / name in files for name in LISTS)]
    if not folders:
        return None, f"{files[0]} is not used for the split: {' and '.join(LISTS)} must be in one folder"
    names = by_ending(pairs)
    found = {folder: [pairs_of(root / folder / name, names) for name in LISTS] for folder in folders}
    folder = max(folders, key=lambda each: min(share for _, share in found[each]))
    (train, _), (val, _) = found[folder]
    lists = " and ".join(str(folder / name) for name in LISTS)
    if min(share for _, share in found[folder]) < MIN_SHARE or set(train) & set(val):
        problem = "both name the same image" if set(train) & set(val) else "most of their names are not those of pairs"
        return None, f"{lists} are not used for the split: {problem}"
    count = len(pairs) - len(train) - len(val)
    return Split(train, val), f"the split is that of {lists}" + f", without {count} images that they do not name" * (
        count > 0
    )


def write_lists(folder: Path, split: Split, line_of: Callable[..., str]) -> dict[str, str]:
    """Write train.txt and val.txt, with a line of each entry, and return the values of a template that name them."""
    for name, part in zip(LISTS, (split.train, split.val), strict=True):
        with atomic_file(folder / name) as file:
            file.write_text("".join(f"{line_of(*entry)}\n" for entry in part), encoding="utf-8")
    return {f"{Path(name).stem}_list": str(folder / name) for name in LISTS}


def by_ending(pairs: Sequence[Pair]) -> Mapping[str, Pair]:
    """Return pairs by each ending of the image's path, without suffix, that no other image has."""
    endings = []
    for pair in pairs:
        parts = PurePosixPath(pair[0]).with_suffix("").parts
        endings += [("/".join(parts[index:]), pair) for index in range(len(parts))]
    counts = Counter(ending for ending, _ in endings)
    return {ending: pair for ending, pair in endings if counts[ending] == 1}


def pairs_of(path: Path, names: Mapping[str, Pair]) -> tuple[list[Pair], float]:
    """Return the pairs that the lines of a list name first, with or without suffix, and the share of such lines."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    lines = [line.removeprefix("./") for line in lines if line]
    found = []
    for line in lines:
        forms = (form for text in (line, line.split()[0]) for form in (text, text.rpartition(".")[0]))
        found += [pair for form in forms if (pair := names.get(form))][:1]
    return sorted(set(found)), len(found) / max(len(lines), 1)
