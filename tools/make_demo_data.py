"""Draw the demo's data set: textured shapes on textured grounds, with labels and masks known to the pixel.

    python tools/make_demo_data.py data/demo
    mim run mmtl make_demo_data data/demo

A class is a texture on a shape ("striped-ring"); two classes share each shape, and colours and grounds are random
and tell nothing. An image holds one large object, which is its class label, among smaller ones of other classes.
OUT holds every image twice:

    OUT/classification/{train,val}/<class>/<name>.png         ImageNet layout
    OUT/segmentation/images/{training,validation}/<name>.png  ADE20K layout
    OUT/segmentation/annotations/{training,validation}/<name>.png   0 = ground, 1... = classes in sorted order
    OUT/demo.json                                             the settings it was drawn with
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

MARKER = "demo.json"
SPLITS = {"train": "training", "val": "validation"}  # ImageNet's name -> ADE20K's name
LEAD = 1.3  # the labelled object shows at least this many times the pixels of any other
SEEN = 20  # every object shows at least so many pixels
NOISE = 6.0  # standard deviation over the whole image, in grey levels

Grid = tuple[np.ndarray, np.ndarray]  # x and y of every pixel, in units of the object's radius


def disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points lie in the unit disc."""
    return x**2 + y**2 < 1


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points lie in a plus sign of arm width 0.8."""
    near, far = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
    return (near < 0.4) & (far < 1.1)


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points lie in an equilateral triangle of inradius 0.65."""
    slope = np.sqrt(3) / 2
    return np.maximum.reduce([y, slope * x - y / 2, -slope * x - y / 2]) < 0.65


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points lie in a ring whose hole has half its radius."""
    return abs(np.hypot(x, y) - 0.78) < 0.27


# A texture is a 0 / 1 pattern whose unit of x and y is one period.


def banded(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return stripes from side to side."""
    return (y % 1) < 0.5


def checked(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a checkerboard."""
    return ((x % 1) < 0.5) ^ ((y % 1) < 0.5)


def dotted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dots on a square lattice."""
    return np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.33


def latticed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the lines of a square lattice."""
    return ((x % 1) < 0.3) | ((y % 1) < 0.3)


def plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return 0 everywhere."""
    return np.zeros(x.shape)


def slanted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return diagonal stripes."""
    return ((x + y) * np.sqrt(0.5) % 1) < 0.5


def striped(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return stripes from top to bottom."""
    return (x % 1) < 0.5


def zigzag(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return bands that go up and down."""
    return ((y + 1.2 * abs(x / 1.5 % 1 - 0.5)) % 1) < 0.5


Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]
SHAPES: tuple[Pattern, ...] = (cross, disc, ring, triangle)
TEXTURES: tuple[Pattern, ...] = (banded, checked, dotted, latticed, plain, slanted, striped, zigzag)
LOOKS: dict[str, tuple[Pattern, Pattern]] = {
    f"{texture.__name__}-{shape.__name__}": (texture, shape)
    for texture, shape in zip(TEXTURES, itertools.cycle(SHAPES), strict=False)
}
CLASSES = sorted(LOOKS)


@dataclass(frozen=True)
class Settings:
    """What a data set is drawn from; two equal settings give the same bytes."""

    num_train: int = 3000
    num_val: int = 480
    height: int = 64
    width: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in [
            ("num_train", self.num_train, len(CLASSES)),
            ("num_val", self.num_val, len(CLASSES)),
            ("height", self.height, 48),
            ("width", self.width, 48),
            ("seed", self.seed, 0),
        ]:
            if value < least:
                raise ValueError(f"{name} is {value}, but must be at least {least}")


@dataclass(frozen=True)
class Scene:
    """image uint8 [H, W, 3] BGR, mask uint8 [H, W] (0 ground, 1 + class), label of the largest object."""

    image: np.ndarray
    mask: np.ndarray
    label: int


def turned(grid: Grid, centre_xy: tuple[float, float], angle: float, unit: float) -> Grid:
    """Return the grid [H, W] around `centre_xy`, turned by `angle` radians, in units of `unit` pixels."""
    x, y = grid[0] - centre_xy[0], grid[1] - centre_xy[1]
    cos, sin = np.cos(angle) / unit, np.sin(angle) / unit
    return cos * x + sin * y, cos * y - sin * x


def two_colours(rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Return two random colours [2, 3] whose distance is at least `contrast`, in grey levels of 0 to 255."""
    while True:
        colours = rng.uniform(0, 255, (2, 3))
        if np.linalg.norm(colours[0] - colours[1]) > contrast:
            return colours


def blend(first: np.ndarray, second: np.ndarray, weight_hw: np.ndarray) -> np.ndarray:
    """Mix two colours [3] by a weight [H, W], 0 for the first and 1 for the second, into an image [H, W, 3]."""
    return first + (second - first) * weight_hw[..., None]


def draw_ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a ground [H, W, 3] of grainy clouds of random size and direction between two random colours."""
    cells = rng.integers(2, 7, 2)  # unequal counts give clouds with a direction
    clouds = cv2.resize(rng.random(tuple(cells)), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, rng.uniform(0, 0.2), (height, width))
    return blend(*two_colours(rng, 50), np.clip(clouds + grain, 0, 1))


def draw_object(rng: np.random.Generator, label: int, radius: float, height: int, width: int) -> Grid:
    """Return an object: its colours [H, W, 3] and where it is [H, W]; its centre is well inside."""
    texture, shape = LOOKS[CLASSES[label]]
    margin = min(0.8 * radius, 0.4 * height)
    centre = (rng.uniform(margin, width - margin), rng.uniform(margin, height - margin))
    grid = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    angle = rng.uniform(-0.3, 0.3)  # the texture is painted on the shape and turns with it
    inside = shape(*turned(grid, centre, angle, radius))
    pattern = texture(*turned(grid, centre, angle, rng.uniform(6, 8)))
    return blend(*two_colours(rng, 150), pattern), inside


def draw_scene(rng: np.random.Generator, label: int, height: int, width: int) -> Scene:
    """Draw one large object of class `label` among two to four smaller ones of other classes.

    Objects hide one another in random order; a scene is drawn again when the large one does not lead by far or
    a small one cannot be seen.
    """
    scale = height / 64
    while True:
        others = rng.choice(np.delete(np.arange(len(CLASSES)), label), rng.integers(2, 5), replace=False)
        labels = rng.permutation([label, *others])
        image, mask = draw_ground(rng, height, width), np.zeros((height, width), np.uint8)
        for each in labels:
            radius = scale * (rng.uniform(18, 24) if each == label else rng.uniform(9, 14))
            colours, inside = draw_object(rng, each, radius, height, width)
            image[inside], mask[inside] = colours[inside], each + 1
        visible = np.bincount(mask.ravel(), minlength=len(CLASSES) + 1)[1:]
        if visible[label] >= LEAD * max(visible[others]) and min(visible[others]) >= SEEN:
            image += rng.normal(0, NOISE, image.shape)
            return Scene(np.clip(image, 0, 255).astype(np.uint8), mask, label)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image, fast rather than small."""
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"{path} could not be written: is the disk full or the folder read-only?")


def draw_split(root: Path, split: str, count: int, settings: Settings) -> None:
    """Draw `count` scenes of a split, the classes in turn, into both layouts under `root`."""
    images, annotations = (root / "segmentation" / kind / SPLITS[split] for kind in ("images", "annotations"))
    folders = [root / "classification" / split / name for name in CLASSES]
    for folder in [images, annotations, *folders]:
        folder.mkdir(parents=True)
    for index in range(count):
        # Its own stream for every image: a larger set begins with the images of a smaller one.
        rng = np.random.default_rng([settings.seed, list(SPLITS).index(split), index])
        scene = draw_scene(rng, index % len(CLASSES), settings.height, settings.width)
        name = f"{split}_{index:05d}.png"
        write_png(folders[scene.label] / name, scene.image)
        shutil.copyfile(folders[scene.label] / name, images / name)
        write_png(annotations / name, scene.mask)


def is_finished(out: Path, settings: Settings) -> bool:
    """Tell whether `out` already holds this very set; raise ValueError when it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    marker = out / MARKER
    if not marker.is_file():
        raise ValueError(f"{out} exists and is no demo data set (it has no {MARKER}): name another folder")
    found = json.loads(marker.read_text())
    if found != asdict(settings):
        raise ValueError(f"{out} was drawn with other settings, {found}: delete it or name another folder")
    return True


def make_demo_data(out: Path, settings: Settings) -> bool:
    """Draw the data set into `out` unless it is there; return whether it was drawn.

    It is drawn under a temporary name and renamed when whole, so a killed run leaves no half-made set.
    """
    if is_finished(out, settings):
        return False
    draft = out.with_name(f".{out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    draw_split(draft, "train", settings.num_train, settings)
    draw_split(draft, "val", settings.num_val, settings)
    (draft / MARKER).write_text(json.dumps(asdict(settings), indent=2) + "\n")
    if out.exists():
        out.rmdir()
    draft.rename(out)
    return True


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"default {value}")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Draw the set named on the command line."""
    args = vars(parse_args(argv))
    out = args.pop("out")
    try:
        drawn = make_demo_data(out, Settings(**args))
    except (ValueError, OSError) as error:
        print(f"make_demo_data: {error}", file=sys.stderr)
        return 1
    counts = f"{args['num_train']} training and {args['num_val']} validation images of {len(CLASSES)} classes"
    print(f"{out}: {counts} {'drawn' if drawn else 'already there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
