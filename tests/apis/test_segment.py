import csv
import os
from argparse import ArgumentParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_segmentation as tiny
from mmseg.apis import MMSegInferencer
from mmseg.datasets import LoadAnnotations
from PIL import Image

from mmtl.apis import segment as api
from mmtl.cli.segment import main
from mmtl.utils.checkpoint import fit_weights


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Config, checkpoint, and a folder of images of every kind, all of the same scene where the size allows."""
    root = tmp_path_factory.mktemp("segment")
    config = tiny.write_config(root)
    tiny.save_checkpoint(config, root / "weights.pth")
    image = tiny.make_pair((40, 56), 0)[0]
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    images = {
        "plain.png": image,
        "below/gray.png": gray,
        "below/gray_as_color.png": cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR),
        "rgba.png": np.dstack([image, np.full((40, 56), 77, np.uint8)]),
        "sixteen_bit.png": image.astype(np.uint16) * 257,
        "one_pixel.png": image[:1, :1],
        "one_row.png": np.tile(image[:1], (1, 40, 1)),
        "smaller_than_the_crop.png": image[:9, :17],
        "wide.png": np.tile(image, (1, 5, 1)),
    }
    for name, image in images.items():
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / "images" / name), image)
    return root


@pytest.fixture(scope="module")
def segmented(root):
    assert run(root) == (9, {})
    return root / "out"


def run(root, images="images", checkpoint="weights.pth", config="tiny.py", out="out"):
    weights = checkpoint if checkpoint == "random" else str(root / checkpoint)
    return api.segment(root / config, weights, [root / each for each in images.split(",")], root / out)


def read_mask(path):
    return np.asarray(Image.open(path))


def rows_of(segmented):
    with open(segmented / "areas.csv", newline="") as file:
        return {Path(row["image"]).name: row for row in csv.DictReader(file)}


def test_every_image_gets_a_mask_and_an_overlay_under_its_name(root, segmented):
    names = {p.relative_to(root / "images").with_suffix(".png") for p in (root / "images").rglob("*.png")}
    for kind in ("masks", "overlays"):
        assert {p.relative_to(segmented / kind) for p in (segmented / kind).rglob("*.*")} == names
    for name in names:
        image = cv2.imread(str(root / "images" / name))
        assert read_mask(segmented / "masks" / name).shape == image.shape[:2]
        overlay = cv2.imread(str(segmented / "overlays" / name))
        assert overlay.shape[0] >= image.shape[0] and overlay.shape[1] > image.shape[1]
    assert not [path for path in segmented.rglob("*.part")]


def test_masks_are_those_of_mmseg_with_the_checkpoints_weights(root, segmented):
    inferencer = MMSegInferencer(str(root / "tiny.py"), str(root / "weights.pth"), device="cpu", show_progress=False)
    expected = inferencer(str(root / "images/plain.png"))["predictions"]
    assert len(np.unique(expected)) > 1
    assert np.array_equal(read_mask(segmented / "masks/plain.png"), expected)


def test_areas_are_the_shares_of_the_mask(segmented):
    rows = rows_of(segmented)
    assert len(rows) == 9
    for name, row in rows.items():
        mask = read_mask(next(segmented.glob(f"masks/**/{name}")))
        assert (int(row["height"]), int(row["width"])) == mask.shape
        shares = [float(row[each]) for each in tiny.CLASSES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert shares == pytest.approx([(mask == index).mean() for index in range(3)], abs=1e-6)


def test_gray_rgba_and_sixteen_bit_images_are_segmented_like_their_rgb_form(segmented):
    masks = segmented / "masks"
    plain = read_mask(masks / "plain.png")
    assert np.array_equal(read_mask(masks / "rgba.png"), plain)
    assert np.array_equal(read_mask(masks / "sixteen_bit.png"), plain)
    assert np.array_equal(read_mask(masks / "below/gray.png"), read_mask(masks / "below/gray_as_color.png"))


def test_a_mask_shows_the_palette_and_reads_as_an_annotation_of_mmseg(segmented):
    path = segmented / "masks/plain.png"
    assert Image.open(path).getpalette()[:9] == [90, 90, 90, 230, 159, 0, 0, 114, 178]
    read = LoadAnnotations().transform(dict(seg_map_path=str(path), reduce_zero_label=False, seg_fields=[]))
    assert np.array_equal(read["gt_seg_map"], read_mask(path))


def test_a_huge_image_is_predicted_smaller_and_keeps_its_size(root, monkeypatch):
    monkeypatch.setattr(api, "MAX_LOGITS", 3 * 1000)
    inferencer, _, _ = api.load_model(root / "tiny.py", str(root / "weights.pth"), "cpu", None)
    sizes = []
    inferencer.pipeline.transforms.append(lambda results: sizes.append(results["data_samples"].ori_shape) or results)
    image = tiny.make_pair((80, 112), 0)[0]
    assert api.predict_mask(inferencer, image, 3).shape == (80, 112)
    assert len(sizes) == 1 and sizes[0][0] * sizes[0][1] <= 1000


def test_names_come_from_the_checkpoint_then_the_dataset_then_are_numbers(root):
    ade = dict(type="mmtl.ADE20KDataset")
    assert api.class_colors({"classes": ("a", "b")}, ade, 2).names == ["a", "b"]
    table = api.class_colors({}, ade, 150)
    assert table.names[0] == "wall" and table.palette[0].tolist() == [120, 120, 120]
    own = dict(type="mmtl.BaseSegDataset", metainfo=dict(classes=("x", "y")))
    assert api.class_colors({}, own, 2).names == ["x", "y"]
    table = api.class_colors({}, ade, 300)
    assert table.names[299] == "class 299" and len(np.unique(table.palette, axis=0)) > 250


def test_an_image_that_cannot_be_decoded_is_named_and_the_others_are_done(root):
    folder = root / "corrupt"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder / "empty.png").write_bytes(b"")
    cv2.imwrite(str(folder / "good.png"), np.zeros((8, 8, 3), np.uint8))
    count, failures = run(root, "corrupt", "random", out="of_corrupt")
    assert count == 1 and failures[folder / "broken.jpg"] == "cannot be decoded as an image"
    assert failures.keys() == {folder / "broken.jpg", folder / "empty.png"}
    assert [path.name for path in (root / "of_corrupt/masks").iterdir()] == ["good.png"]
    assert len(rows_of(root / "of_corrupt")) == 1


def test_an_image_that_the_model_refuses_is_named_and_the_others_are_done(root, monkeypatch):
    folder = root / "sizes"
    folder.mkdir()
    for side in (1, 8):
        cv2.imwrite(str(folder / f"{side}.png"), np.zeros((side, side, 3), np.uint8))
    predict_mask = api.predict_mask

    def refuse_small(inferencer, image, num_classes):
        if len(image) == 1:
            raise RuntimeError("Output size is too small")
        return predict_mask(inferencer, image, num_classes)

    monkeypatch.setattr(api, "predict_mask", refuse_small)
    result = run(root, "sizes", "random", out="of_sizes")
    assert result == (1, {folder / "1.png": "1 x 1 pixels (H x W): Output size is too small"})
    assert [path.name for path in (root / "of_sizes/masks").iterdir()] == ["8.png"]


def other_arch(root):
    text = (root / "tiny.py").read_text().replace("embed_dims=8, num_layers=2", "embed_dims=8, num_layers=3")
    (root / "deeper.py").write_text(text)
    tiny.save_checkpoint(root / "deeper.py", root / "deeper.pth")
    return dict(checkpoint="deeper.pth")


def only_backbone(root):
    state = torch.load(root / "weights.pth", weights_only=True)["state_dict"]
    torch.save({key: value for key, value in state.items() if key.startswith("backbone")}, root / "backbone.pth")
    return dict(checkpoint="backbone.pth")


def pretraining_config(root):
    (root / "pretraining.py").write_text("model = dict(type='ImageClassifier')")
    return dict(config="pretraining.py")


def truncated_config(root):
    (root / "cut.py").write_text("model = dict(")
    return dict(config="cut.py")


def empty_folder(root):
    (root / "empty").mkdir(exist_ok=True)
    return dict(images="empty")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: dict(images="nowhere"), "nowhere: no such image or folder"),
        (empty_folder, "empty contains no image"),
        (lambda root: dict(checkpoint="nothing.pth"), "nothing.pth.*no such"),
        (lambda root: dict(checkpoint="tiny.py"), "cannot be read as a checkpoint"),
        (other_arch, "checkpoint's backbone looks like"),
        (only_backbone, "does not fit the model"),
        (lambda root: dict(config="nothing.py"), "nothing.py"),
        (truncated_config, "cut.py cannot be read as a config"),
        (pretraining_config, "Give a segmentation config"),
    ],
)
def test_user_errors_name_the_file_and_write_nothing(root, prepare, message):
    with pytest.raises((OSError, ValueError), match=rf"^[^\n]*{message}[^\n]*$"):
        run(root, out="nothing", **prepare(root))
    assert not (root / "nothing").exists()


def test_table_and_mask_have_the_checkpoints_names_and_palette(root):
    contents = torch.load(root / "weights.pth", weights_only=True)
    contents["meta"]["dataset_meta"] = dict(classes=("x", "y", "z"), palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    torch.save(contents, root / "renamed.pth")
    run(root, "images/plain.png", "renamed.pth", out="renamed")
    assert (root / "renamed/areas.csv").read_text().startswith("image,width,height,x,y,z\n")
    assert Image.open(root / "renamed/masks/plain.png").getpalette()[:9] == list(range(1, 10))


def test_one_bad_file_does_not_cost_the_table(root, monkeypatch):
    """Guards: two images of one name, a file name that is not UTF-8 or a file without permission cost all results."""
    folder = root / "bad"
    folder.mkdir()
    good = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for name in (b"caf\xe9.png", b"=1+1.png", b"locked.png", b"twin.jpg", b"twin.png"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(good)
    read = api.read_image

    def refuse_locked(path):
        if path.name == "locked.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(api, "read_image", refuse_locked)
    count, failures = run(root, "bad", out="of_bad")
    assert count == 3 and failures.keys() == {folder / "locked.png", folder / "twin.png"}
    assert "would be written as twin.png" in failures[folder / "twin.png"]
    rows = list(csv.reader((root / "of_bad/areas.csv").open(newline="")))
    assert [row[0].rpartition("/")[2] for row in rows] == ["image", "=1+1.png", "caf\\udce9.png", "twin.jpg"]


def no_model(*_):
    raise AssertionError("the model was loaded")


def folder_of(root, name, *files):
    for file in files:
        (root / name / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name / file), np.zeros((8, 8, 3), np.uint8))
    return root / name


def test_a_folder_with_other_files_is_refused_before_the_model_is_loaded(root, tmp_path, monkeypatch):
    """Guards: masks of other images stayed beside the table of the new ones; a file failed after the model had run."""
    photos = folder_of(tmp_path, "photos", "1.png")
    own = folder_of(tmp_path, "own", "masks/1.png")
    before = (own / "masks/1.png").read_bytes()
    monkeypatch.setattr(api, "load_model", no_model)
    for out, message in (
        (own, "own must be a new or empty folder, got one with masks/1.png"),
        (photos / "1.png", "1.png must be a folder, got the file"),
        (photos / "1.png/below", "below must be a folder, got the file .*1.png"),
        (photos, "photos contains the input"),
        (Path("/proc/new"), "/proc/new must be a folder that can be written, got .* Give another folder"),
    ):
        with pytest.raises(ValueError, match=message):
            api.segment(root / "tiny.py", "random", [photos], out)
    assert (own / "masks/1.png").read_bytes() == before
    with pytest.raises(ValueError, match="contains the input"):
        api.segment(root / "tiny.py", "random", [own / "masks/1.png"], own)


def test_an_earlier_result_is_replaced_if_it_has_no_other_images(root, tmp_path):
    photos, out = folder_of(tmp_path, "photos", "1.png", "2.png"), tmp_path / "out"
    assert api.segment(root / "tiny.py", "random", [photos], out) == (2, {})
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    with pytest.raises(ValueError, match="must be a new or empty folder, got one with masks/2.png, overlays/2.png"):
        api.segment(root / "tiny.py", "random", [photos / "1.png"], out)
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before
    (photos / "2.png").write_bytes(b"")
    assert api.segment(root / "tiny.py", "random", [photos], out)[0] == 1
    assert rows_of(out).keys() == {"1.png"} == {path.name for path in (out / "masks").iterdir()}


@pytest.mark.parametrize("opacity", [3, -0.1, float("nan")])
def test_opacity_is_a_share(root, tmp_path, opacity, monkeypatch):
    monkeypatch.setattr(api, "load_model", no_model)
    with pytest.raises(ValueError, match=f"--opacity must be 0 to 1, got {opacity}"):
        api.segment(root / "tiny.py", "random", [root / "images"], tmp_path / "out", opacity=opacity)


@pytest.mark.parametrize("with_list", [False, True])
def test_masks_of_the_configs_datasets_are_not_segmented_with_the_images(root, tmp_path, with_list, monkeypatch):
    """Guards: a folder of images/ and annotations/ gave twice as many images."""
    files = [f"{kind}/{part}/1.png" for kind in ("pixels", "truth") for part in ("train", "val")]
    data = folder_of(tmp_path, "data", *files)
    change = dict(data_root=str(data), data_prefix=dict(img_path="pixels/val", seg_map_path="truth/val"))
    if with_list:  # as `mmtl start` writes them
        (data / "val.txt").write_text(f"{data / files[1]}\t{data / files[3]}\n")
        change |= dict(data_root="", ann_file=str(data / "val.txt"), data_prefix=dict(img_path="", seg_map_path=""))
    options = {f"test_dataloader.dataset.{key}": value for key, value in change.items()}
    monkeypatch.setattr(api, "load_model", no_model)
    with pytest.raises(ValueError, match="got a folder that contains .*data/truth/val. Give the folder of the"):
        api.segment(root / "tiny.py", "random", [data], tmp_path / "out", cfg_options=options)
    for allowed in (data / "pixels", data / "truth/val"):
        with pytest.raises(AssertionError, match="the model was loaded"):
            api.segment(root / "tiny.py", "random", [allowed], tmp_path / "out", cfg_options=options)


def test_masks_beside_images_are_left_out_as_mmtl_start_pairs_them(tmp_path, capsys):
    """Guards: masks were segmented as photographs."""
    data = folder_of(tmp_path, "data", "images/1.png", "images/2.png", "masks/1_mask.png", "masks/3.png", "more/1.png")
    names = ["images/1.png", "images/2.png", "more/1.png"]
    assert api.images_below(data, tmp_path / "out") == [data / name for name in names]
    assert capsys.readouterr().out == f"{data}: masks are left out: 2, such as masks/1_mask.png\n"
    assert api.images_below(data / "masks", tmp_path / "out") and not capsys.readouterr().out


def test_only_an_error_is_printed_if_no_image_was_segmented(root, tmp_path, capsys):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match="1 of 1 images were left out:\n .*a.png: cannot be decoded"):
        main(ArgumentParser(), [str(root / "tiny.py"), "random", f"{tmp_path}/a.png", "-o", f"{tmp_path}/out"])
    assert "segmented" not in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_weights_of_another_classifier_do_not_fit_once():
    class Refusing(torch.nn.Module):
        def load_state_dict(self, *_, **__):
            raise ValueError("The checkpoint does not fit this model: head.weight (2, 8), expected (3, 8).")

    with pytest.raises(ValueError, match=r"^a.pth does not fit the model: head.weight \(2, 8\), expected"):
        fit_weights(Refusing(), {}, "a.pth")


def test_rows_are_written_as_they_come(root, monkeypatch):
    """Guards: a stopped run kept no row of the table."""
    predict_mask, calls = api.predict_mask, []

    def stop_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict_mask(*arguments)

    monkeypatch.setattr(api, "predict_mask", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(root, "images", out="stopped")
    assert len((root / "stopped/areas.csv").read_text().splitlines()) == 2


def test_images_in_the_output_folder_are_not_segmented(root, segmented):
    before = set(root.rglob("*"))
    found, failures = api.find_images([root], segmented)
    expected = [p for p in before if p.suffix in (".png", ".jpg") and segmented not in p.parents]
    assert len(found) + len(failures) == len(expected)


def test_a_name_that_no_result_can_have_does_not_cost_the_table(root):
    """Guards: a name of 255 bytes, and a folder with the name of another image's result, ended the run."""
    good = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    long = f"{'a' * 251}.png"
    for name in (long, "x.jpg", "x.png/1.png", "z.png"):
        (root / "odd" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "odd" / name).write_bytes(good)
    count, failures = run(root, "odd", out="of_odd")
    assert count == 3 and failures.keys() == {root / "odd/x.png/1.png"}
    assert "masks/x.png: File exists" in failures[root / "odd/x.png/1.png"]
    assert len((root / "of_odd/areas.csv").read_text().splitlines()) == 4
    assert (root / "of_odd/masks" / long).is_file() and not list((root / "of_odd").rglob("*.part"))


def test_an_image_beyond_the_memory_does_not_cost_the_others(root, monkeypatch):
    predict_mask = api.predict_mask

    def refuse_wide(inferencer, image, num_classes):
        if image.shape[:2] == (40, 280):
            raise MemoryError("Unable to allocate 9 GiB")
        return predict_mask(inferencer, image, num_classes)

    monkeypatch.setattr(api, "predict_mask", refuse_wide)
    count, failures = run(root, out="of_memory")
    assert count == 8 and "Unable to allocate" in failures[root / "images/wide.png"]


def test_an_image_that_is_deleted_meanwhile_does_not_cost_the_others(root, monkeypatch):
    """Guards: it ended the run without a table."""
    for number in range(3):
        (root / "fleeting").mkdir(exist_ok=True)
        cv2.imwrite(str(root / f"fleeting/{number}.png"), np.zeros((8, 8, 3), np.uint8))
    predict_mask = api.predict_mask

    def delete_next(*arguments):
        (root / "fleeting/1.png").unlink(missing_ok=True)
        return predict_mask(*arguments)

    monkeypatch.setattr(api, "predict_mask", delete_next)
    count, failures = run(root, "fleeting", out="of_fleeting")
    assert count == 2 and failures.keys() == {root / "fleeting/1.png"}
