import csv

import cv2
import numpy as np
import pytest
import torch
from helpers.classifier_config import config_text
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer, get_model

from mmtl.apis.predict import predict

CONFIG = config_text(16)
CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three class folders of two images, and a model of those classes with its checkpoint."""
    root = tmp_path_factory.mktemp("predict")
    (root / "config.py").write_text(CONFIG)
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (root / "images" / name).mkdir(parents=True)
        for index in range(2):
            image = generator.integers(0, 255, (20, 24, 3), np.uint8)
            cv2.imwrite(str(root / "images" / name / f"{index}.png"), image)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = get_model(str(root / "config.py"), pretrained=False)
    for weight in model.parameters():  # far enough apart for classes to differ
        torch.nn.init.normal_(weight, std=0.5)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), root / "model.pth")
    return root


def run(root, out, images="images", checkpoint="model.pth", **options):
    predict(root / "config.py", root / checkpoint, root / images, out, workers=0, **options)
    with open(out, newline="") as file:
        return list(csv.DictReader(file))


def test_table_has_the_predictions_of_mmpretrains_inferencer(root, tmp_path):
    rows = run(root, tmp_path / "all.csv", batch_size=4)  # all three classes
    assert [row["path"] for row in rows] == [f"{name}/{index}.png" for name in CLASSES for index in range(2)]
    assert [row["label"] for row in rows] == [name for name in CLASSES for _ in range(2)]
    inferencer = ImageClassificationInferencer(str(root / "config.py"), str(root / "model.pth"), device="cpu")
    for row, result in zip(rows, inferencer([str(root / "images" / row["path"]) for row in rows]), strict=True):
        order = np.argsort(-result["pred_scores"])
        assert [row[f"class_{rank}"] for rank in (1, 2, 3)] == [CLASSES[index] for index in order]
        confidences = [float(row[f"confidence_{rank}"]) for rank in (1, 2, 3)]
        assert confidences == pytest.approx(result["pred_scores"][order].tolist(), abs=1e-5)


def test_a_classifier_of_timm_such_as_the_teacher_of_mmtl_start_predicts(root, tmp_path):
    model = "dict(type='TimmClassifier', model_name='mobilenetv3_small_050', num_classes=3)"
    (tmp_path / "timm.py").write_text(f"_base_ = {str(root / 'config.py')!r}\nmodel = {model[:-1]}, _delete_=True)\n")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        weights = get_model(str(tmp_path / "timm.py"), pretrained=False).state_dict()
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=CLASSES))), tmp_path / "timm.pth")
    found = predict(tmp_path / "timm.py", tmp_path / "timm.pth", root / "images", tmp_path / "table.csv", workers=0)
    assert (found.rows, found.labeled) == (6, 6)


def test_wrong_only_lists_the_images_whose_top_class_is_not_their_folder(root, tmp_path):
    rows = run(root, tmp_path / "all.csv", topk=1)
    wrong = run(root, tmp_path / "wrong.csv", topk=1, wrong_only=True)
    assert wrong == [row for row in rows if row["class_1"] != row["label"]]
    assert 0 < len(wrong) < len(rows)


def test_the_share_of_correct_images_is_known_with_class_folders_or_a_list(root, tmp_path):
    rows = run(root, tmp_path / "all.csv", topk=1)
    found = predict(root / "config.py", root / "model.pth", root / "images", tmp_path / "w.csv", workers=0, topk=1)
    correct = [row["class_1"] == row["label"] for row in rows]
    assert (found.labeled, found.correct) == (6, sum(correct))
    wrong = next(row for row, is_correct in zip(rows, correct, strict=True) if not is_correct)
    (tmp_path / "val.txt").write_text(f"{wrong['path']} {CLASSES.index(wrong['class_1'])}\n")  # other than its folder
    options = dict(workers=0, topk=1, list_file=tmp_path / "val.txt")
    found = predict(root / "config.py", root / "model.pth", root / "images", tmp_path / "l.csv", **options)
    assert found == (1, [], 1, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ant/0.png", "line 1 must be a path, a space and a class index"),
        ("ant/7.png 0", "line 1: ant/7.png is not in"),
        ("ant/0.png 0\nant/1.png 3\n", "line 2: class index must be below 3, got 3"),
    ],
)
def test_a_list_that_does_not_fit_is_named(root, tmp_path, line, message):
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises((OSError, ValueError), match=f"list.txt.*{message}"):
        run(root, tmp_path / "table.csv", list_file=tmp_path / "list.txt")


def write_images(root, folder, names):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes((root / "images/ant/0.png").read_bytes())
    return folder


@pytest.mark.parametrize("where", ["checkpoint", "config", "nowhere"])
def test_folders_have_a_label_if_they_are_classes_or_no_classes_are_known(root, tmp_path, capsys, where):
    """Guards: folders with other names than the classes were taken for them in their order, and top-1 was 0 %."""
    images = write_images(root, tmp_path / "images", ("alfa", "bravo", "charlie"))
    (images / "empty").mkdir()
    checkpoint, config = root / "model.pth", tmp_path / "config.py"
    if where != "checkpoint":
        torch.save(dict(state_dict=torch.load(checkpoint)["state_dict"]), checkpoint := tmp_path / "nameless.pth")
    config.write_text(CONFIG)
    if where == "config":
        config.write_text(CONFIG.replace('type="CustomDataset",', f'type="CustomDataset", classes={CLASSES},'))
    found = predict(config, checkpoint, images, tmp_path / "table.csv", workers=0)
    error = capsys.readouterr().err
    assert found.rows == 3 and "without an image are left out: empty" in error
    if where == "nowhere":
        assert found.labeled == 3 and error.count("labels by the order of the folders") == 1
    else:
        assert found.labeled == 0 and error.count("folders are not class names: no top-1") == 1
    (images / "charlie").rename(images / "cat")
    found = predict(config, checkpoint, images, tmp_path / "table.csv", workers=0)
    assert found.labeled == (3 if where == "nowhere" else 1)
    predict(config, checkpoint, images / "cat", tmp_path / "table.csv", workers=0)
    assert (f"no top-1: give {images} for it" in capsys.readouterr().err) == (where != "nowhere")


def test_undecodable_images_are_listed_and_have_no_row(root, tmp_path):
    images = tmp_path / "images" / "ant"
    images.mkdir(parents=True)
    (images / "0.png").write_bytes((root / "images/ant/0.png").read_bytes())
    (images / "1.png").write_bytes(b"not an image")
    out = tmp_path / "new" / "table.csv"
    result = predict(root / "config.py", root / "model.pth", tmp_path / "images", out, topk=2, workers=1)
    assert result[:2] == (1, ["ant/1.png"])
    assert [path.name for path in out.parent.iterdir()] == ["table.csv"]
    assert len(out.read_text().splitlines()) == 2


def test_user_errors_name_the_option_or_file_and_write_nothing(root, tmp_path):
    image = (root / "images/ant/0.png").read_bytes()
    files = {"flat/0.png": image, "others/x/0.png": image, "broken/ant/0.png": b"not an image"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
    torch.save({"state_dict": {"w": torch.zeros(1)}}, tmp_path / "other.pth")
    cases = [
        (dict(images="gone"), "gone: no such image folder"),
        (dict(topk=4), "--topk must be at most 3, .* got 4"),
        (dict(images=tmp_path / "flat", wrong_only=True), "--wrong-only needs class folders"),
        (dict(images=tmp_path / "others", wrong_only=True), "--wrong-only needs class folders"),
        (dict(images=tmp_path / "broken"), "None of the 1 images"),
        (dict(checkpoint=tmp_path / "other.pth"), "other.pth does not fit the model"),
        (dict(checkpoint="gone.pth"), "gone.pth.*no such checkpoint. .* contains model.pth"),
    ]
    for options, message in cases:
        with pytest.raises((OSError, ValueError), match=rf"^[^\n]*{message}[^\n]*$"):
            run(root, tmp_path / "table.csv", **{"topk": 1, **options})
    assert not list(tmp_path.glob("table.csv*"))
