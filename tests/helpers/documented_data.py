"""Small synthetic data under the names that README and docs use."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from helpers.score_map_makers import random_map
from PIL import Image

from mmtl.score_maps import ScoreMapWriter

WNIDS = ("n01440764", "n01443537")
KEYS = [f"{wnid}/{wnid}_{number}.JPEG" for wnid in WNIDS for number in (10026, 10027)]
KEY = KEYS[0]
CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()
SPLITS = (("train", "training"), ("val", "validation"))


def write_image(path: Path, size: tuple[int, int] = (96, 72), kind: int = 0) -> None:
    """Write a noisy image, (width, height) pixels, whose color depends on its kind."""
    rng = np.random.default_rng(len(str(path)))
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.normal([40 + 40 * (kind % 5), 90, 200 - 20 * kind], 30, (size[1], size[0], 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path, "PNG" if path.suffix == ".png" else "JPEG")


def write_mask(path: Path, values: Sequence[int], size: tuple[int, int] = (96, 72)) -> None:
    """Write a mask of vertical stripes of these values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.array(values, np.uint8)[np.arange(size[0]) * len(values) // size[0]]
    Image.fromarray(np.tile(columns, (size[1], 1))).save(path)


def write_annotations(root: Path) -> None:
    """Write what `mmtl convert_masks` reads, and a list of classes."""
    (root / "classes.txt").write_text("3\n1\n2\n")
    write_mask(root / "color_masks/a.png", (0, 200))
    (root / "labelme_folder").mkdir()
    shape = dict(label="car", shape_type="polygon", points=[[0, 0], [4, 0], [4, 4]])
    labelme = dict(shapes=[shape], imageWidth=8, imageHeight=8, imagePath="a.jpg", version="5.0")
    (root / "labelme_folder/a.json").write_text(json.dumps(labelme))
    coco = dict(
        images=[dict(id=1, file_name="a.jpg", width=8, height=8)],
        categories=[dict(id=1, name="car")],
        annotations=[dict(id=1, image_id=1, category_id=1, segmentation=[[0, 0, 4, 0, 4, 4]], iscrowd=0, area=8)],
    )
    (root / "instances.json").write_text(json.dumps(coco))


def write_store(path: Path) -> None:
    """Write score maps of ImageNet's classes, each in a shard of its own."""
    rng = np.random.default_rng(0)
    with ScoreMapWriter(path, num_classes=1000, grid_hw=(4, 4), topk=5, shard_bytes=1) as writer:
        for key in KEYS:
            writer.add(key, random_map(rng, (4, 4), 5, 1000))


def write_imagenet(data: Path) -> None:
    """Write two class folders of ImageNet, of its other versions, and score maps in both forms."""
    for kind, wnid in enumerate(WNIDS):
        write_image(data / f"imagenet/val/{wnid}/ILSVRC2012_val_0000000{kind + 1}.JPEG", kind=kind)
        write_image(data / f"imagenet-a/{wnid}/0.jpg", kind=kind)
        write_image(data / f"imagenet-c/gaussian_noise/3/{wnid}/0.JPEG", kind=kind)
        write_image(data / f"imagenetv2/{10 * kind}/0.jpeg", kind=kind)
    for key in KEYS:
        write_image(data / "imagenet/train" / key, kind=WNIDS.index(key[:9]))
    (data / "real.json").write_text(json.dumps([[0], [1]] + [[0]] * 49_998))
    write_store(data / "imagenet_score_maps")
    with tarfile.open(data.parent / "label_top5_train_nfnet.tar.gz", "w:gz") as archive:
        for key in KEYS:
            content = io.BytesIO()
            score_map = random_map(np.random.default_rng(1), (18, 18), 5, 1000)
            arrays = np.stack([score_map.scores, score_map.classes.astype(np.float16)]).transpose(0, 3, 1, 2)
            torch.save(torch.from_numpy(arrays.copy()), content)
            member = tarfile.TarInfo(f"label_top5_train_nfnet/{Path(key).with_suffix('.pt')}")
            member.size = content.tell()
            content.seek(0)
            archive.addfile(member, content)


def scenes(data: Path) -> Iterator[tuple[Path, Path, Sequence[int]]]:
    """Yield image, mask and values of the mask, in the layouts of ADE20K, CamVid and a folder of one's own."""
    for short, long in SPLITS:
        for i in range(2):
            ade, camvid = data / "ade/ADEChallengeData2016", data / "camvid"
            yield ade / f"images/{long}/{i}.jpg", ade / f"annotations/{long}/{i}.png", range(151)
            yield camvid / f"images/{short}/{i}.jpg", camvid / f"annotations/{short}/{i}.png", (0, 1, 2, 255)
    for i in range(24):
        own = data.parent / "scenes"
        yield own / f"images/{i}.jpg", own / f"masks/{i}.png", (0, 1, 2)


def write_documented_data(root: Path) -> None:
    """Write everything that the pages name."""
    write_imagenet(root / "data")
    (root / "IMAGES").symlink_to("data/imagenet/train")
    for kind, name in enumerate(CIFAR10):
        for split, _ in SPLITS:
            for i in range(2):
                write_image(root / f"data/cifar10/{split}/{name}/{i}.png", (32, 32), kind)
    for image, mask, values in scenes(root / "data"):
        write_image(image, (160, 120))
        write_mask(mask, values, (160, 120))
    for kind, name in enumerate(("bird", "cat", "dog", "fish", "horse")):
        for i in range(30):
            write_image(root / f"photos/{name}/{i}.jpg", (130 + i, 110), kind)
    write_image(root / "more/photos/1.jpg")
    write_annotations(root)
