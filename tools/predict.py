"""Classify a folder of images: a CSV table of the best classes of each, or of the wrong predictions alone.

    mim run mmtl predict CONFIG CHECKPOINT IMAGES -o predictions.csv
    mim run mmtl predict CONFIG CHECKPOINT data/imagenet/val -o wrong.csv --wrong-only

The table has a row for each image: its path under IMAGES, its true class, then class and confidence of the best
classes. The folder that an image lies in is its true class, when it bears the name of a class of the checkpoint or
of ImageNet (n01440764), or when there are as many folders as classes: their order is the classes' then. Images that
cannot be decoded are listed on standard error and have no row.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain import ImageClassificationInferencer, get_model
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from mmtl.annotators.progress import RateColumn
from mmtl.datasets.imagenet_folders import wnid_labels
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import load_weights
from mmtl.utils.image_files import class_folders, list_images
from mmtl.utils.read_image import read_image


def main(arguments: list[str] | None = None) -> None:
    """Write one table; a user's mistake ends with one message and exit code 1."""
    args = parse_args(arguments)
    try:
        rows, undecodable = predict(args)
    except (OSError, ValueError) as error:
        sys.exit(f"predict: {error}")
    for key in undecodable:
        print(f"predict: cannot be decoded: {args.images / key}", file=sys.stderr)
    left_out = f", {len(undecodable)} images could not be decoded" if undecodable else ""
    print(f"{args.out}: {rows} {'wrong predictions' if args.wrong_only else 'images'}{left_out}")


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a classification config")
    parser.add_argument("checkpoint", type=Path, help="its weights")
    parser.add_argument("images", type=Path, help="folder of images, searched with its subfolders")
    parser.add_argument("-o", "--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--topk", type=int, default=5, help="classes told of each image (default: 5)")
    parser.add_argument("--wrong-only", action="store_true", help="only images whose best class is not their folder's")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="processes that decode images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def predict(args: argparse.Namespace) -> tuple[int, list[str]]:
    """Classify the images and write the table, which appears only when it is whole.

    Returns:
        Number of rows, and the images that could not be decoded.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The checkpoint does not fit, a number makes no sense, no image can be decoded, or the truth is
            asked for and not known.
    """
    for option, least in (("topk", 1), ("batch_size", 1), ("workers", 0)):
        if getattr(args, option) < least:
            raise ValueError(f"--{option.replace('_', '-')} {getattr(args, option)}: at least {least} is wanted")
    keys = list_images(args.images)
    inferencer = load_inferencer(args.config, args.checkpoint, args.device)
    num_classes = inferencer.model.head.num_classes
    if args.topk > num_classes:
        raise ValueError(f"--topk {args.topk}: the model has {num_classes} classes")
    truth = folder_classes(class_folders(keys), num_classes, inferencer.classes)
    if args.wrong_only and truth is None:
        raise ValueError(
            f"--wrong-only wants class folders, and the folders of {args.images} are neither named by class of "
            f"{args.checkpoint.name} or of ImageNet, nor {num_classes}, one for each class"
        )
    predictions = classify(inferencer, args.images, keys, args.batch_size, args.workers)
    return write_table(args, predictions, truth, inferencer.classes)


def load_inferencer(config: Path, checkpoint: Path, device: str) -> ImageClassificationInferencer:
    """MMPretrain's inferencer of a config, its weights read without running code from them.

    Raises:
        FileNotFoundError: Config or checkpoint is missing.
        ValueError: The checkpoint does not fit the config.
    """
    if not config.is_file():
        raise FileNotFoundError(f"{config}: no such config")
    init_default_scope("mmpretrain")
    model = get_model(str(config), pretrained=False)
    if not hasattr(getattr(model, "head", None), "num_classes"):
        raise ValueError(f"{config} is no classifier: its model has no head with num_classes")
    meta = load_weights(model, checkpoint)
    return ImageClassificationInferencer(model.to(device), classes=meta.get("classes"))


def folder_classes(folders: Sequence[str], num_classes: int, names: Sequence[str] | None) -> dict[str, int] | None:
    """The class that each folder holds.

    Args:
        folders: names of the class folders, sorted.
        num_classes: K of the model.
        names: names of its classes, when they are known.

    Returns:
        Class index of each folder; None when that cannot be told.
    """
    if not folders:
        return None
    by_name = {name: index for index, name in enumerate(names or ())}
    for known in (by_name, wnid_labels() if num_classes == 1000 else {}):
        if all(folder in known for folder in folders):
            return {folder: known[folder] for folder in folders}
    return {folder: index for index, folder in enumerate(folders)} if len(folders) == num_classes else None


class Images(Dataset):
    """Images of a folder, as the test pipeline gives them; None for those that cannot be decoded."""

    def __init__(self, root: Path, keys: Sequence[str], inferencer: ImageClassificationInferencer) -> None:
        self.root, self.keys, self.pipeline = root, keys, inferencer.pipeline

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[str, dict | None]:
        path = self.root / self.keys[index]
        try:
            image = read_image(path)
        except OSError:
            image = None
        if image is None:
            return self.keys[index], None
        hw = image.shape[:2]
        return self.keys[index], self.pipeline(dict(img=image, img_shape=hw, ori_shape=hw, img_path=str(path)))


def classify(
    inferencer: ImageClassificationInferencer, root: Path, keys: Sequence[str], batch_size: int, workers: int
) -> Iterator[tuple[str, torch.Tensor | None]]:
    """Each image's key and class probabilities [K], None when it cannot be decoded, under a progress bar."""
    dataset = Images(root, keys, inferencer)
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=list)
    columns = (BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(keys))
        for batch in loader:
            good = [packed for _, packed in batch if packed is not None]
            results = iter(inferencer.forward(pseudo_collate(good)) if good else [])
            for key, packed in batch:
                yield key, None if packed is None else next(results).pred_score.cpu()
            progress.advance(task, len(batch))


def write_table(
    args: argparse.Namespace,
    predictions: Iterator[tuple[str, torch.Tensor | None]],
    truth: dict[str, int] | None,
    names: Sequence[str] | None,
) -> tuple[int, list[str]]:
    """Write the rows; the file appears when the last is there.

    Returns:
        Number of rows, and the images that could not be decoded.
    """
    rows, decoded, undecodable = 0, 0, []
    with atomic_file(args.out) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        best = [f"{column}_{rank}" for rank in range(1, args.topk + 1) for column in ("class", "confidence")]
        writer.writerow(["path", "label", *best])
        for key, scores in predictions:
            if scores is None:
                undecodable.append(key)
                continue
            decoded += 1
            label = truth[key.split("/")[0]] if truth else None
            top = scores.topk(args.topk)
            if args.wrong_only and int(top.indices[0]) == label:
                continue
            told = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            cells = [cell for index, score in told for cell in (name_of(index, names), f"{score:.6f}")]
            writer.writerow([key, "" if label is None else name_of(label, names), *cells])
            rows += 1
        if not decoded:
            raise ValueError(f"none of the {len(undecodable)} images of {args.images} can be decoded")
    return rows, undecodable


def name_of(index: int, names: Sequence[str] | None) -> str:
    """A class's name, or its index where names are not known."""
    return names[index] if names else str(index)


if __name__ == "__main__":
    main()
