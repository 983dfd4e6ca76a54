import json

import cv2
import numpy as np
import pytest
from helpers import tiny_segmentation as tiny
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from mmtl.apis.check_segmentation import Split, check_segmentation, class_table, print_report
from mmtl.datasets.annotation_rules import unused_class_problem
from mmtl.engine.hooks.check_annotations import check_names
from mmtl.utils.text import join_names


@pytest.fixture
def root(tmp_path):
    tiny.write_data(tmp_path)
    tiny.write_config(tmp_path)
    return tmp_path


def run(root, capsys, shown=10):
    count = print_report(check_segmentation(root / "tiny.py", jobs=1), shown)
    return count, capsys.readouterr().out


def annotations(root, split):
    return [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((root / "annotations" / split).iterdir())]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_counts_are_those_of_the_files(tmp_path, jobs, reduce_zero_label):
    tiny.write_data(tmp_path, first_label=int(reduce_zero_label))
    cv2.imwrite(str(tmp_path / "annotations/train/0.png"), np.zeros((40, 56), np.uint8))
    train, val = check_segmentation(tiny.write_config(tmp_path, reduce_zero_label), jobs)
    assert (train.name, val.name) == ("train", "val, test") and not train.problems and not val.problems
    for split, name in ((train, "train"), (val, "val")):
        labels = annotations(tmp_path, name)
        for index in range(3):
            expected = [(each == index + reduce_zero_label).sum() for each in labels]
            assert split.pixels[index] == sum(expected)
            assert split.images[index] == sum(count > 0 for count in expected)
        ignored = sum((each == 0).sum() for each in labels) if reduce_zero_label else 0
        assert split.pixels[255] == ignored and split.pixels.sum() == sum(each.size for each in labels)


def test_good_data_have_no_problems_and_their_classes_are_listed(root, capsys):
    count, out = run(root, capsys)
    assert count == 0 and "7 pairs, problems: none" in out and "disc" in out


def test_class_that_training_never_shows_is_reported_but_not_a_problem(root, capsys):
    for path in (root / "annotations/train").iterdir():
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(labels == 2, np.uint8(255), labels))
    count, out = run(root, capsys)
    assert count == 0 and "WARNING: train: no pixel of bar, which cannot be learned\n" in out


@pytest.mark.parametrize(
    ("names", "reduce_zero_label", "kind"),
    [
        (["ground", "disc", "bar"], False, None),
        (["boden", "scheibe", "balken"], False, "WARNING"),
        (["ground", "bar", "disc"], False, "error"),
        (["ground", "disc", "tree"], False, "WARNING"),
        (["ground", "disc"], False, "error"),
        (["ground", "disc", "bar", "a, b"], False, "error"),
        (["other", "ground", "disc", "bar"], True, None),
        (["other", "ground", "bar", "disc"], True, "error"),
    ],
)
def test_names_that_are_not_those_of_the_masks_are_an_error_in_check_and_run(
    tmp_path, capsys, names, reduce_zero_label, kind
):
    """Guards: training resumed with permuted classes after the masks were converted again."""
    tiny.write_data(tmp_path, first_label=int(reduce_zero_label))
    config = tiny.write_config(tmp_path, reduce_zero_label)
    (tmp_path / "annotations/classes.json").write_text(json.dumps(dict(classes=names)))
    count, out = run(tmp_path, capsys)
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(Config.fromfile(config).train_dataloader.dataset)
    both = [join_names(names), "got ground, disc, bar. Run `mmtl start FOLDER --force`"]
    if kind == "error":
        with pytest.raises(ValueError) as error:
            check_names(dataset)
        assert count == 2 and all(text in out and text in str(error.value) for text in both)
    else:
        check_names(dataset)
        assert count == 0 and ("WARNING" in out) == (kind == "WARNING")
        assert kind is None or all(text in out for text in both)


def label_beyond(root):
    labels = annotations(root, "train")[1]
    labels[0, :6] = 9
    cv2.imwrite(str(root / "annotations/train/1.png"), labels)


def other_size(root):
    cv2.imwrite(str(root / "annotations/val/2.png"), annotations(root, "val")[2][:30, :20])


def one_row(root):
    for kind in ("images", "annotations"):
        cv2.imwrite(str(root / kind / "train/0.png"), np.zeros((1, 9, 3)[: 3 if kind == "images" else 2], np.uint8))
    other_size(root)  # the only fault


def truncated(root):
    """A JPEG, whose missing part OpenCV 4 fills with gray without an error."""
    path = root / "images/train/2.png"
    data = cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes()
    path.write_bytes(data[: len(data) // 2])


def not_an_image(root):
    (root / "annotations/train/2.png").write_bytes(b"not an image")


def in_color(root):
    cv2.imwrite(str(root / "annotations/train/0.png"), np.zeros((40, 56, 3), np.uint8))


def sixteen_bits(root):
    cv2.imwrite(str(root / "annotations/train/0.png"), np.full((40, 56), 300, np.uint16))


def empty_split(root):
    for path in (root / "images/train").iterdir():
        path.unlink()


def another_suffix(root):
    (root / "images/train/3.png").rename(root / "images/train/3.jpeg")


def missing_folder(root):
    (root / "images/val").rename(root / "images/elsewhere")


def fourth_class(root):
    tiny.write_config(root, classes=(*tiny.CLASSES, "more"))
    text = (root / "tiny.py").read_text().replace("[0, 114, 178]]", "[0, 114, 178], [1, 1, 1]]")
    (root / "tiny.py").write_text(text)


def ignore_another(root):
    text = (root / "tiny.py").read_text().replace("num_classes=3,", "num_classes=3, ignore_index=254,")
    (root / "tiny.py").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        (
            label_beyond,
            ["train: label outside the classes (1)", "1.png: labels must be 0 to 2 or 255, got 9 (6 pixels)"],
        ),
        (
            other_size,
            ["val, test: sizes differ (1)", "2.png: size must be 40 x 56 (H x W) as of the image"],
        ),
        (one_row, ["problems: 1", "val, test: sizes differ (1)"]),
        (truncated, ["train: unreadable image (1)", "2.png"]),
        (not_an_image, ["train: unreadable annotation (1)", "2.png"]),
        (in_color, ["train: color annotation (1)", "one channel of class indices"]),
        (sixteen_bits, ["values up to 300"]),
        (lambda root: (root / "annotations/val/1.png").unlink(), ["no annotation (1)", "images/val/1.png has no"]),
        (lambda root: (root / "images/val/1.png").unlink(), ["val/1.png belongs to no image"]),
        (empty_split, ["train: empty split (1)", "files ending in .png"]),
        (another_suffix, ["3.jpeg does not end in img_suffix='.png'"]),
        (missing_folder, ["val, test: cannot be opened (1)", "images/val does not exist"]),
        (fourth_class, ["names 4, decode_head.num_classes is 3"]),
        (ignore_another, ["ignores 255, the head 254"]),
    ],
)
def test_problem_is_reported_with_its_file(root, capsys, spoil, messages):
    spoil(root)
    count, out = run(root, capsys)
    out = out.replace("\n", " ")
    assert count and all(message in out for message in messages)


@pytest.mark.parametrize("with_list", [False, True])
def test_paths_that_start_at_another_folder_are_an_error_with_the_path(root, monkeypatch, with_list):
    """Guards: an empty table and the arguments of the dataset."""
    options = {}
    for name in ("train", "val", "test"):
        options[f"{name}_dataloader.dataset.data_root"] = "scenes"
        options |= {f"{name}_dataloader.dataset.ann_file": f"{name}.txt"} if with_list else {}
    monkeypatch.chdir(root)
    path = "scenes/train.txt" if with_list else "scenes/images/train"
    message = f"tiny.py: train: {path} does not exist; paths start at the current folder, {root}. Correct it, or"
    with pytest.raises(FileNotFoundError, match=message):
        check_segmentation(root / "tiny.py", jobs=1, cfg_options=options)


def test_label_numbers_are_those_in_the_file_under_reduce_zero_label(tmp_path, capsys):
    tiny.write_data(tmp_path, first_label=1)
    tiny.write_config(tmp_path, reduce_zero_label=True)
    label_beyond(tmp_path)
    assert "labels must be 1 to 3, 0 or 255, got 9 (6 pixels)" in run(tmp_path, capsys)[1]


def test_label_that_dataset_and_head_ignore_is_not_a_problem(root):
    label_beyond(root)
    text = (root / "tiny.py").read_text().replace("num_classes=3,", "num_classes=3, ignore_index=9,")
    (root / "tiny.py").write_text(text.replace("reduce_zero_label=False", "reduce_zero_label=False, ignore_index=9"))
    train, val = check_segmentation(root / "tiny.py", jobs=1)
    assert not train.problems and not val.problems and train.pixels[9] == 6


def test_problems_of_a_kind_are_limited_unless_all_are_requested(root, capsys):
    for index in range(12):
        cv2.imwrite(str(root / f"annotations/val/extra{index}.png"), np.zeros((40, 56), np.uint8))
    short, long = (run(root, capsys, shown)[1] for shown in (10, None))
    assert "and 2 more (--all)" in short and short.count("belongs to no image") == 10
    assert long.count("belongs to no image") == 12


def test_config_without_datasets_is_refused(tmp_path):
    (tmp_path / "bare.py").write_text("x = 1")
    with pytest.raises(ValueError, match="no train_, val_ or test_dataloader"):
        check_segmentation(tmp_path / "bare.py", jobs=1)


def test_table_counts_ignored_and_unknown_labels_apart():
    pixels = np.zeros(256, np.int64)
    pixels[[0, 1, 7, 255]] = 40, 30, 20, 10
    table = class_table([Split("train", ("a", "b"), num_classes=2, pixels=pixels)])
    assert list(table.columns[3].cells) == ["57.14", "42.86", "10.00", "20.00"]


def test_many_adjacent_classes_without_a_pixel_are_one_row():
    pixels = np.zeros(256, np.int64)
    pixels[[0, 1, 5, 200]] = 1
    table = class_table([Split("train", ("a", "b"), num_classes=201, pixels=pixels)])
    assert list(table.columns[0].cells) == ["0", "1", "2", "3", "4", "5", "6 to 199", "200", "", ""]
    assert list(table.columns[1].cells)[6] == "194 classes"


@pytest.mark.parametrize(
    ("change", "reduce_zero_label", "classes"),
    [
        (lambda m: np.where(m > 0, 255, 0), False, ("ground", "disc", "bar")),
        (lambda m: np.where(m > 0, 255, 0), False, ("ground", "disc")),
        (lambda m: m > 0, True, ("ground", "disc")),
        (lambda m: np.where(m > 1, 255, m), False, ("ground", "disc", "bar")),
    ],
)
def test_masks_that_ignore_what_should_be_a_class_are_a_problem_of_training(
    tmp_path, capsys, change, reduce_zero_label, classes
):
    tiny.write_data(tmp_path)
    for path in tmp_path.glob("annotations/*/*.png"):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels[:20] *= 2 if len(classes) == 3 else 1
        cv2.imwrite(str(path), change(labels.clip(0, 2)).astype(np.uint8))
    config = tiny.write_config(tmp_path, reduce_zero_label, classes)
    options = {"model.decode_head.num_classes": len(classes)}
    for split in ("train", "val"):
        palette = [[index] * 3 for index in range(len(classes))]
        options[f"{split}_dataloader.dataset.metainfo.palette"] = palette
    print_report(check_segmentation(config, 1, options), None)
    text = " ".join(capsys.readouterr().out.split())
    assert "train: ignored class (1)" in text and "val: ignored class" not in text
    assert ("set it to False as the values 0 to 1 are 2 classes" in text) == reduce_zero_label


def test_absent_classes_beside_few_ignored_pixels_are_no_problem():
    pixels = np.zeros(256, np.int64)
    pixels[[0, 1, 255]] = 60, 35, 5
    assert unused_class_problem(pixels, 3, 255) is None
    pixels[255] = 50
    assert "classes 2 occur in no mask, and 34% of the pixels are 255" in unused_class_problem(pixels, 3, 255).text
    assert unused_class_problem(pixels, 3, 255, complete=False) is None
    assert unused_class_problem(pixels, 2, 255) is None and unused_class_problem(pixels * 0, 3, 255) is None
