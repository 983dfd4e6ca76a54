"""Draw the images of docs/images from CC0 photographs and from a finished demo.

    make demo                                              # its models and data, for the images of segmentation
    pip install scikit-image '.[annotator]'
    python docs/make_images.py                             # or only some: python docs/make_images.py score_maps

The photographs chelsea, coffee and camera are in skimage.data, each CC0 by its photographer. The annotator is
EfficientNet-Lite0, trained on ImageNet.
"""

import sys
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageOps
from skimage import data

from mmtl.demo.figures import draw_panels
from mmtl.demo.scenes import CLASSES, draw_scene
from mmtl.models.batch_augments.mix_token import box_mask
from mmtl.models.token_labels import token_targets
from mmtl.score_maps import ScoreMapStore
from mmtl.score_maps.class_table import ClassTable
from mmtl.score_maps.stats import cell_probabilities
from mmtl.utils.class_colors import class_palette
from mmtl.utils.cli import tool_parser
from mmtl.visualization.colors import figure_colors
from mmtl.visualization.figures import add_class_legend, color_cells, draw_over, render

ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES, MAX_WIDTH = 150_000, 1200
PHOTOS = {"chelsea": "n02124075", "coffee": "n07920052", "camera": "n04485082"}  # class folders of ImageNet
SIZE = ("--input-size", "448", "--workers", "0", "--device", "cpu")
RECIPE = ROOT / "configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py"
DEMO, DEMO_DATA = ROOT / "work_dirs/demo", ROOT / "data/demo"
DEMO_CONFIGS = ROOT / "configs/demo"


def run_tool(name: str, *arguments: str | Path) -> None:
    """Run a command of mmtl in this process."""
    module = import_module(f"mmtl.cli.{name}")
    module.main(tool_parser(module.__doc__, f"mmtl {name}"), [str(each) for each in arguments])


def save(image: Image.Image | np.ndarray | Figure, name: str) -> None:
    """Write docs/images/NAME.jpg, of at most 1200 pixels and 150 kB."""
    image = render(image) if isinstance(image, Figure) else image
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image = image.convert("RGB")
    image = image.crop(ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox())
    image = ImageOps.expand(image, 6, "white")
    if image.width > MAX_WIDTH:
        image = image.resize((MAX_WIDTH, round(image.height * MAX_WIDTH / image.width)), Image.Resampling.LANCZOS)
    for quality in range(92, 40, -4):
        image.save(buffer := BytesIO(), "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    path = ROOT / f"docs/images/{name}.jpg"
    path.write_bytes(buffer.getvalue())
    print(f"{path.relative_to(ROOT)}: {image.width} x {image.height}, {buffer.tell() // 1000} kB")


def make_photo_store(folder: Path) -> tuple[Path, Path]:
    """Write the photographs into class folders and their score maps into a store; return both folders."""
    images, store = folder / "imagenet/train", folder / "store"
    for name, wnid in PHOTOS.items():
        path = images / wnid / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(getattr(data, name)()).convert("RGB").save(path)
    run_tool("make_score_maps", "lite/efficientnet_lite0", images, store, *SIZE)
    return images, store


def score_maps(folder: Path) -> None:
    """Draw two photographs with their score maps, by the tool."""
    images, store = make_photo_store(folder)
    keys = [f"{PHOTOS[name]}/{name}.png" for name in ("chelsea", "coffee")]
    run_tool("score_maps", "show", store, *keys, "--images", images, "-o", folder / "maps.png")
    save(Image.open(folder / "maps.png"), "score_maps")


def samples(folder: Path) -> None:
    """Draw the input of the network with its token labels, by the tool."""
    images, store = make_photo_store(folder)
    for name in ("chelsea", "coffee"):  # two augmentations of each
        path = images / PHOTOS[name] / f"{name}.png"
        path.with_name(f"{name}_again.png").write_bytes(path.read_bytes())
    run_tool("make_score_maps", "lite/efficientnet_lite0", images, folder / "more", *SIZE)
    options = ("--cfg-options", f"data_root={images.parent}/", f"score_maps={folder / 'more'}")
    run_tool("browse_samples", RECIPE, "-n", "4", "--seed", "1", "-o", folder / "samples.png", *options)
    save(Image.open(folder / "samples.png"), "samples")


def geometry(folder: Path) -> None:
    """Draw how labels follow a crop: image with view, score map with view, view with token labels, and a mixture."""
    images, store_path = make_photo_store(folder)
    store = ScoreMapStore(store_path)
    names = ClassTable.of(store.annotator, store.num_classes).short_names
    size, grid_hw = 224, (14, 14)
    views, labels = [], []
    for name, center, angle, side in (("chelsea", (0.4, 0.52), 20, 205), ("coffee", (0.52, 0.5), -15, 330)):
        photo = np.asarray(Image.open(images / PHOTOS[name] / f"{name}.png"))
        to_pixels = view_matrix(np.multiply(center, photo.shape[1::-1]), angle, side)
        affine = to_pixels / np.array([[photo.shape[1]], [photo.shape[0]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        views.append(cv2.warpAffine(photo, to_pixels @ np.diag([1 / size, 1 / size, 1]), (size, size), flags=flags))
        score_map = store[f"{PHOTOS[name]}/{name}.png"]
        arrays = (score_map.scores, score_map.classes.astype(np.int64), affine.astype(np.float32), score_map.log_norm)
        scores, classes, view_affine, log_norm = (torch.from_numpy(np.array(each))[None] for each in arrays)
        options = dict(num_classes=store.num_classes, tail="probability", log_norm=log_norm)
        labels.append(token_targets(scores, classes, view_affine, grid_hw, **options).dense()[0].unflatten(0, grid_hw))
        if name == "chelsea":
            first = photo, score_map, to_pixels
    mask = box_mask(grid_hw, (3, 5, 11, 13)).reshape(grid_hw).numpy()
    pixels = np.kron(mask, np.ones((16, 16), bool))[..., None]
    mixed = [np.where(pixels, *views), torch.where(torch.from_numpy(mask)[..., None], *labels)]
    photo, score_map, to_pixels = first
    cells = [(score_map.classes[..., 0], cell_probabilities(score_map, store.num_classes)[..., 0])]
    cells += [tuple(each.numpy() for each in label.max(-1)[::-1]) for label in (labels[0], mixed[1])]
    colors = figure_colors(np.concatenate([top.ravel() for top, _ in cells]), store.num_classes)
    figure = Figure((12, 4.6), dpi=100, layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=[1.5, 1.5, 1, 1])
    corners = to_pixels @ np.array([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 1, 1, 1, 1]])
    titles = ("image, and the view of a sample", "its score map", "labels of the view", "mixed by MixToken")
    shown = [(photo, None), (photo, cells[0]), (views[0], cells[1]), (mixed[0], cells[2])]
    for axes, title, (image, grid) in zip(panels, titles, shown, strict=True):
        axes.set_axis_off()
        axes.set_title(title, fontsize=10)
        if grid is None:
            axes.imshow(image)
        else:
            draw_over(axes, image, color_cells(*grid, colors))
            place = dict(loc="upper left", bbox_to_anchor=(0, -0.02), fontsize=9)
            add_class_legend(axes, *grid, colors, names, 3, **place)
    for axes in panels[:2]:
        axes.plot(*corners, color="white", linewidth=2)
    save(figure, "geometry")


def view_matrix(center_xy: np.ndarray, degrees: float, side: float) -> np.ndarray:
    """Return the map [2, 3] from the unit square of a rotated square view to pixels of the image."""
    cos, sin = side * np.cos(np.radians(degrees)), side * np.sin(np.radians(degrees))
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, center_xy - linear @ (0.5, 0.5)])


def masks(folder: Path) -> None:
    """Draw a scene, its mask as colors, and what convert_masks makes of it."""
    rng = np.random.default_rng(3)
    scene = draw_scene(rng, 2, 96, 128)
    palette = np.concatenate([np.zeros((1, 3), np.uint8), class_palette(len(CLASSES))])
    (folder / "colors").mkdir()
    Image.fromarray(palette[scene.mask]).save(folder / "colors/scene.png")
    run_tool("convert_masks", folder / "colors", folder / "index", "--ignore", "#000000")
    mask = Image.open(folder / "index/scene.png")
    index, shown = np.asarray(mask), np.asarray(mask.convert("RGB"))
    panels = [
        (scene.image[..., ::-1], "image"),
        (palette[scene.mask], "mask of colors, black: no label"),
        (shown, "index mask in a viewer, with its values"),
    ]
    figure, box = draw_panels(panels, 3), dict(boxstyle="round,pad=0.15", facecolor="white", edgecolor="none")
    for value in np.unique(index):
        region = cv2.copyMakeBorder(np.uint8(index == value), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        inside = cv2.distanceTransform(region, cv2.DIST_L2, 5)[1:-1, 1:-1]  # far from edges and other values
        y, x = np.unravel_index(inside.argmax(), index.shape)
        figure.axes[2].text(x, y, str(value), ha="center", va="center", fontsize=11, bbox=box)
    for axes in figure.axes:
        axes.title.set_fontsize(11)
    save(figure, "masks")


def segmentation(folder: Path) -> None:
    """Draw what the tool segment writes for images of the demo."""
    paths = sorted((DEMO_DATA / "segmentation/images/validation").glob("*.png"))[5:9]
    checkpoint = DEMO / "segmentation_token_labels/iter_300.pth"
    config = DEMO_CONFIGS / "lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80.py"
    run_tool("segment", config, checkpoint, *paths, "-o", folder / "out", "--device", "cpu")
    overlays = [Image.open(path).convert("RGB") for path in sorted((folder / "out/overlays").rglob("*.png"))]
    width, height = (max(sizes) + 10 for sizes in zip(*(each.size for each in overlays), strict=True))
    canvas = Image.new("RGB", (2 * width, 2 * height), "white")
    for index, overlay in enumerate(overlays):
        canvas.paste(overlay, (index % 2 * width, index // 2 * height))
    save(canvas, "segmentation")


def predictions(folder: Path) -> None:
    """Draw attention and token classes of the demo's model, as a run does at validations."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmpretrain.apis import init_model
    from mmpretrain.registry import DATASETS

    from mmtl.visualization.token_labels import draw_predictions, predict_tokens

    cfg = Config.fromfile(DEMO_CONFIGS / "lvvit-nano_1xb32-tokenlabel-6e_demo.py")
    cfg.val_dataloader.dataset.data_root = str(DEMO_DATA / "classification")
    model = init_model(cfg, str(DEMO / "token_labels/epoch_6.pth"), device="cpu").eval()
    init_default_scope("mmpretrain")
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    names = dataset.metainfo["classes"]
    chosen = [dataset[int(index)] for index in np.linspace(0, len(dataset) - 1, 3)]
    save(draw_predictions(predict_tokens(model, chosen, names), names), "token_predictions")


def confusion(folder: Path) -> None:
    """Show the confusion matrix that the demo's segmentation drew last."""
    runs = (DEMO / "segmentation_token_labels").glob("*/vis_data/vis_image/confusion_matrix_300.png")
    save(Image.open(max(runs)), "confusion_matrix")


def reliability(folder: Path) -> None:
    """Draw the calibration of the demo's score maps, by the tool."""
    run_tool("score_maps", "stats", DEMO / "score_maps", "-o", folder / "reliability.png")
    save(Image.open(folder / "reliability.png"), "reliability")


FIGURES = dict(
    score_maps=score_maps,
    samples=samples,
    geometry=geometry,
    masks=masks,
    segmentation=segmentation,
    predictions=predictions,
    confusion=confusion,
    reliability=reliability,
)

if __name__ == "__main__":
    for figure_name in sys.argv[1:] or FIGURES:
        with TemporaryDirectory() as temporary:
            FIGURES[figure_name](Path(temporary))
