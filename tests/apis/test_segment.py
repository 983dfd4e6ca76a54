import csv
import runpy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT
from mmseg.apis import MMSegInferencer
from mmseg.datasets import LoadAnnotations
from PIL import Image

from mmtl.visualization.overlay import draw_overlay

TOOL = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "segment.py")))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Config, checkpoint, and a folder of images of every kind, all of the same scene where the size allows."""
    root = tmp_path_factory.mktemp("segment")
    config = tiny.write_config(root)
    tiny.save_checkpoint(config, root / "weights.pth")
    image = tiny.make_pair((40, 56), 0)[0]
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    pictures = {
        "plain.png": image,
        "below/grey.png": grey,
        "below/grey_as_colour.png": cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR),
        "rgba.png": np.dstack([image, np.full((40, 56), 77, np.uint8)]),
        "sixteen_bit.png": image.astype(np.uint16) * 257,
        "one_pixel.png": image[:1, :1],
        "one_row.png": np.tile(image[:1], (1, 40, 1)),
        "smaller_than_the_crop.png": image[:9, :17],
        "wide.png": np.tile(image, (1, 5, 1)),
    }
    for name, picture in pictures.items():
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / "images" / name), picture)
    return root


@pytest.fixture(scope="module")
def segmented(place):
    run(place)
    return place / "out"


def run(place, images="images", checkpoint="weights.pth", config="tiny.py", out="out", *more):
    paths = [str(place / each) for each in images.split(",")]
    weights = checkpoint if checkpoint == "random" else str(place / checkpoint)
    TOOL.main([str(place / config), weights, *paths, "-o", str(place / out), "--device", "cpu", *more])


def read_mask(path):
    return np.asarray(Image.open(path))


def rows_of(segmented):
    with open(segmented / "areas.csv", newline="") as file:
        return {Path(row["image"]).name: row for row in csv.DictReader(file)}


def test_every_image_gets_a_mask_and_an_overlay_at_its_own_place(place, segmented):
    names = {p.relative_to(place / "images").with_suffix(".png") for p in (place / "images").rglob("*.png")}
    for kind in ("masks", "overlays"):
        assert {p.relative_to(segmented / kind) for p in (segmented / kind).rglob("*.*")} == names
    for name in names:
        image = cv2.imread(str(place / "images" / name))
        assert read_mask(segmented / "masks" / name).shape == image.shape[:2]
        overlay = cv2.imread(str(segmented / "overlays" / name))
        assert overlay.shape[0] >= image.shape[0] and overlay.shape[1] > image.shape[1]
    assert not [path for path in segmented.rglob("*.part")]


def test_masks_are_those_of_mmseg_with_the_checkpoints_weights(place, segmented):
    inferencer = MMSegInferencer(str(place / "tiny.py"), str(place / "weights.pth"), device="cpu", show_progress=False)
    wanted = inferencer(str(place / "images/plain.png"))["predictions"]
    assert len(np.unique(wanted)) > 1
    assert np.array_equal(read_mask(segmented / "masks/plain.png"), wanted)


def test_areas_are_the_shares_of_the_mask(segmented):
    rows = rows_of(segmented)
    assert len(rows) == 9
    for name, row in rows.items():
        mask = read_mask(next(segmented.glob(f"masks/**/{name}")))
        assert (int(row["height"]), int(row["width"])) == mask.shape
        shares = [float(row[each]) for each in tiny.CLASSES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert shares == pytest.approx([(mask == index).mean() for index in range(3)], abs=1e-6)


def test_grey_rgba_and_sixteen_bit_images_are_what_they_look_like(segmented):
    masks = segmented / "masks"
    plain = read_mask(masks / "plain.png")
    assert np.array_equal(read_mask(masks / "rgba.png"), plain)
    assert np.array_equal(read_mask(masks / "sixteen_bit.png"), plain)
    assert np.array_equal(read_mask(masks / "below/grey.png"), read_mask(masks / "below/grey_as_colour.png"))


def test_a_mask_shows_the_palette_and_reads_as_an_annotation_of_mmseg(segmented):
    path = segmented / "masks/plain.png"
    assert Image.open(path).getpalette()[:9] == [90, 90, 90, 230, 159, 0, 0, 114, 178]
    read = LoadAnnotations().transform(dict(seg_map_path=str(path), reduce_zero_label=False, seg_fields=[]))
    assert np.array_equal(read["gt_seg_map"], read_mask(path))


def test_a_huge_image_is_predicted_smaller_and_keeps_its_size(place, monkeypatch):
    monkeypatch.setitem(TOOL.segment.__globals__, "MOST_LOGITS", 3 * 1000)
    inferencer, _ = TOOL.load_model(place / "tiny.py", str(place / "weights.pth"), "cpu", None)
    sizes = []
    inferencer.pipeline.transforms.append(lambda results: sizes.append(results["data_samples"].ori_shape) or results)
    image = tiny.make_pair((80, 112), 0)[0]
    assert TOOL.segment(inferencer, image, 3).shape == (80, 112)
    assert len(sizes) == 1 and sizes[0][0] * sizes[0][1] <= 1000


def test_names_come_from_the_checkpoint_then_the_data_set_then_are_numbers(place):
    ade = dict(type="mmtl.ADE20KDataset")
    assert TOOL.class_table({"classes": ("a", "b")}, ade, 2).names == ["a", "b"]
    table = TOOL.class_table({}, ade, 150)
    assert table.names[0] == "wall" and table.palette[0].tolist() == [120, 120, 120]
    own = dict(type="mmtl.BaseSegDataset", metainfo=dict(classes=("x", "y")))
    assert TOOL.class_table({}, own, 2).names == ["x", "y"]
    table = TOOL.class_table({}, ade, 300)
    assert table.names[299] == "class 299" and len(np.unique(table.palette, axis=0)) > 250


def test_an_image_that_cannot_be_decoded_is_named_and_the_others_are_done(place):
    folder = place / "damaged"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    cv2.imwrite(str(folder / "good.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SystemExit) as end:
        run(place, "damaged", "random", out="of_damaged")
    assert "2 of 3 images were left out" in end.value.code and "broken.jpg: cannot be decoded" in end.value.code
    assert [path.name for path in (place / "of_damaged/masks").iterdir()] == ["good.png"]
    assert len(rows_of(place / "of_damaged")) == 1


def test_an_image_that_the_model_refuses_is_named_and_the_others_are_done(place, monkeypatch):
    folder = place / "sizes"
    folder.mkdir()
    for side in (1, 8):
        cv2.imwrite(str(folder / f"{side}.png"), np.zeros((side, side, 3), np.uint8))
    segment = TOOL.segment

    def refuse_small(inferencer, image, classes):
        if len(image) == 1:
            raise RuntimeError("Output size is too small")
        return segment(inferencer, image, classes)

    monkeypatch.setitem(TOOL.segment_all.__globals__, "segment", refuse_small)
    with pytest.raises(SystemExit) as end:
        run(place, "sizes", "random", out="of_sizes")
    assert "1 of 2 images were left out" in end.value.code and "1.png: 1 x 1 pixels (H x W): Output" in end.value.code
    assert [path.name for path in (place / "of_sizes/masks").iterdir()] == ["8.png"]


def other_arch(place):
    text = (place / "tiny.py").read_text().replace("embed_dims=8, num_layers=2", "embed_dims=8, num_layers=3")
    (place / "deeper.py").write_text(text)
    tiny.save_checkpoint(place / "deeper.py", place / "deeper.pth")
    return dict(checkpoint="deeper.pth")


def backbone_alone(place):
    state = torch.load(place / "weights.pth", weights_only=True)["state_dict"]
    torch.save({key: value for key, value in state.items() if key.startswith("backbone")}, place / "backbone.pth")
    return dict(checkpoint="backbone.pth")


def pretraining_config(place):
    (place / "pretraining.py").write_text("model = dict(type='ImageClassifier')")
    return dict(config="pretraining.py")


def cut_config(place):
    (place / "cut.py").write_text("model = dict(")
    return dict(config="cut.py")


def empty_folder(place):
    (place / "empty").mkdir(exist_ok=True)
    return dict(images="empty")


def two_of_a_name(place):
    (place / "twins").mkdir(exist_ok=True)
    cv2.imwrite(str(place / "twins/plain.jpg"), np.zeros((8, 8, 3), np.uint8))
    return dict(images="images,twins")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda place: dict(images="nowhere"), "nowhere: no such image or folder"),
        (empty_folder, "empty holds no image"),
        (two_of_a_name, "would both be written as plain.png"),
        (lambda place: dict(checkpoint="nothing.pth"), "nothing.pth: no such checkpoint"),
        (lambda place: dict(checkpoint="tiny.py"), "cannot be read as a checkpoint"),
        (other_arch, "the checkpoint's backbone looks like"),
        (backbone_alone, "does not fit the model"),
        (lambda place: dict(config="nothing.py"), "nothing.py"),
        (cut_config, "cut.py: cannot be read as a config"),
        (pretraining_config, "give a segmentation config"),
    ],
)
def test_bad_input_ends_in_one_message_and_leaves_nothing(place, prepare, message):
    with pytest.raises(SystemExit) as end:
        run(place, out="nothing", **prepare(place))
    assert message in end.value.code and end.value.code.startswith("segment: ") and "\n" not in end.value.code
    assert not (place / "nothing").exists()


def test_what_lies_in_the_output_folder_is_no_input(place, segmented):
    before = set(place.rglob("*"))
    found = TOOL.find_images([place], segmented)
    assert len(found) == len([p for p in before if p.suffix in (".png", ".jpg") and segmented not in p.parents])


def test_overlay_without_opacity_is_the_image_and_with_all_of_it_the_palette():
    image, mask = tiny.make_pair((400, 360), 0)
    palette = np.array([[10, 20, 30], [200, 0, 0], [0, 0, 200]], np.uint8)
    assert np.array_equal(draw_overlay(image, mask, tiny.CLASSES, palette, 0)[:400, :360], image)
    assert np.array_equal(draw_overlay(image, mask, tiny.CLASSES, palette, 1)[:400, :360], palette[mask])


def test_legend_names_the_largest_class_first_and_counts_what_has_no_room():
    mask = np.zeros((40, 500), np.uint8)
    mask[:, :30] = np.arange(1, 31)
    palette = np.random.default_rng(0).integers(0, 200, (31, 3), np.uint8)
    drawn = draw_overlay(np.zeros((40, 500, 3), np.uint8), mask, [f"class {i}" for i in range(31)], palette)
    legend = drawn[:, 500:]
    lines = [int(label) for label in range(31) if (legend == palette[label]).all(-1).any()]
    first = np.argwhere((legend == palette[0]).all(-1)).min(0)
    assert len(lines) == 7 and 0 in lines and first[0] < 10  # the eighth line counts the others
