import runpy
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT

PATH = ROOT / "tools" / "check_segmentation_data.py"
TOOL = SimpleNamespace(**runpy.run_path(str(PATH)))


@pytest.fixture
def root(tmp_path):
    tiny.draw_data(tmp_path)
    tiny.write_config(tmp_path)
    return tmp_path


def run(root, capsys, *more):
    code = TOOL.main([str(root / "tiny.py"), "--jobs", "1", *more])
    return code, capsys.readouterr().out


def annotations(root, split):
    return [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((root / "annotations" / split).iterdir())]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_counts_are_those_of_the_files(tmp_path, jobs, reduce_zero_label):
    tiny.draw_data(tmp_path, first_label=int(reduce_zero_label))
    cv2.imwrite(str(tmp_path / "annotations/train/0.png"), np.zeros((40, 56), np.uint8))
    train, val = TOOL.check(tiny.write_config(tmp_path, reduce_zero_label), jobs)
    assert (train.name, val.name) == ("train", "val, test") and not train.problems and not val.problems
    for split, name in ((train, "train"), (val, "val")):
        labels = annotations(tmp_path, name)
        for index in range(3):
            wanted = [(each == index + reduce_zero_label).sum() for each in labels]
            assert split.pixels[index] == sum(wanted)
            assert split.images[index] == sum(count > 0 for count in wanted)
        ignored = sum((each == 0).sum() for each in labels) if reduce_zero_label else 0
        assert split.pixels[255] == ignored and split.pixels.sum() == sum(each.size for each in labels)


def test_good_data_are_well_and_shown(root, capsys):
    code, out = run(root, capsys)
    assert code == 0 and "7 pairs: all is well" in out and "disc" in out


def test_a_class_that_training_never_shows_is_said_but_no_fault(root, capsys):
    for path in (root / "annotations/train").iterdir():
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(labels == 2, np.uint8(255), labels))
    code, out = run(root, capsys)
    assert code == 0 and "train: no pixel of bar\n" in out


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


def cut_short(root):
    """A JPEG, whose missing part OpenCV 4 fills with grey without a word."""
    path = root / "images/train/2.png"
    data = cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes()
    path.write_bytes(data[: len(data) // 2])


def no_picture(root):
    (root / "annotations/train/2.png").write_bytes(b"no picture")


def in_colours(root):
    cv2.imwrite(str(root / "annotations/train/0.png"), np.zeros((40, 56, 3), np.uint8))


def sixteen_bits(root):
    cv2.imwrite(str(root / "annotations/train/0.png"), np.full((40, 56), 300, np.uint16))


def empty_split(root):
    for path in (root / "images/train").iterdir():
        path.unlink()


def another_suffix(root):
    (root / "images/train/3.png").rename(root / "images/train/3.jpeg")


def no_folder(root):
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
            ["train: label outside the classes (1)", "1.png: label 9 (6 pixels); known are 0 to 2 and 255"],
        ),
        (other_size, ["val, test: sizes differ (1)", "2.png: 30 x 20 pixels (H x W), its image 40 x 56"]),
        (one_row, ["problems: 1", "val, test: sizes differ (1)"]),
        (cut_short, ["train: unreadable image (1)", "2.png"]),
        (no_picture, ["train: unreadable annotation (1)", "2.png"]),
        (in_colours, ["train: annotation in colours (1)", "one channel of class indices"]),
        (sixteen_bits, ["values up to 300"]),
        (lambda root: (root / "annotations/val/1.png").unlink(), ["no annotation (1)", "images/val/1.png has no"]),
        (lambda root: (root / "images/val/1.png").unlink(), ["val/1.png belongs to no image"]),
        (empty_split, ["train: empty split (1)", "files ending in .png"]),
        (another_suffix, ["3.jpeg does not end in img_suffix='.png'"]),
        (no_folder, ["val, test: cannot be opened (1)"]),
        (fourth_class, ["names 4, decode_head.num_classes is 3"]),
        (ignore_another, ["ignores 255, the head 254"]),
    ],
)
def test_a_fault_is_named_and_the_exit_code_says_so(root, capsys, spoil, messages):
    spoil(root)
    code, out = run(root, capsys)
    out = out.replace("\n", " ")
    assert code == 1 and all(message in out for message in messages)


def test_label_numbers_are_those_in_the_file_under_reduce_zero_label(tmp_path, capsys):
    tiny.draw_data(tmp_path, first_label=1)
    tiny.write_config(tmp_path, reduce_zero_label=True)
    label_beyond(tmp_path)
    assert "label 9 (6 pixels); known are 1 to 3, 0 and 255" in run(tmp_path, capsys)[1]


def test_many_problems_of_a_kind_are_cut_unless_all_are_asked_for(root, capsys):
    for index in range(12):
        cv2.imwrite(str(root / f"annotations/val/extra{index}.png"), np.zeros((40, 56), np.uint8))
    short, long = (run(root, capsys, *more)[1] for more in ((), ("--all",)))
    assert "and 2 more (--all)" in short and short.count("belongs to no image") == 10
    assert long.count("belongs to no image") == 12


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [("x = 1", [], "no train_, val_ or test_dataloader"), (None, ["--jobs", "0"], "--jobs 0")],
)
def test_a_mistake_at_the_command_line_ends_in_one_message(root, text, more, message):
    if text:
        (root / "tiny.py").write_text(text)
    with pytest.raises(SystemExit, match=message):
        TOOL.main([str(root / "tiny.py"), *more])
