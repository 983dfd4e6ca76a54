"""`mmtl start` writes configs that need no edit: their data, models and steps fit the folder."""

import shutil
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

import mmtl.apis.start.teacher as teachers
import mmtl.apis.start.weights as students
from mmtl.apis.project import read_steps
from mmtl.apis.start.masks import FoundMasks
from mmtl.apis.start.segmentation import names_and_colors
from mmtl.apis.start.start import Wishes, start
from mmtl.apis.start.teacher import check_hub
from mmtl.apis.start.templates import fill
from mmtl.apis.start.written import writing
from mmtl.cli.main import run_command
from mmtl.utils import download


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*_):
        raise OSError("offline")

    monkeypatch.setattr(students, "cached_download", refuse)
    monkeypatch.setattr(teachers, "check_hub", refuse)
    monkeypatch.setattr(teachers, "package_weights", refuse)


def write_images(folder: str, size: tuple[int, int], masks: np.ndarray | None = None, count: int = 6) -> Path:
    """Write images of classes "a b" and "c" (of two sizes), or images with masks."""
    rng = np.random.default_rng(0)
    for index in range(count):
        for name in ("a b", "c") if masks is None else ("images",):
            path = Path(folder, name, f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = size[1] + index % 2, size[0]
            Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)
        if masks is not None:
            path = Path(folder, "masks", f"{index}.png")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.resize(masks, (height, width))).save(path)
    return Path(folder)


def build(config: Path):
    """Return a config with its model and its training and validation set."""
    cfg = Config.fromfile(config)
    registry = __import__(f"{cfg.default_scope}.registry", fromlist=["DATASETS"])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = registry.MODELS.build(cfg.model)
        loaders = (cfg.train_dataloader, cfg.val_dataloader)
        for loader in loaders:  # the store does not exist yet
            loader.dataset.pipeline = [step for step in loader.dataset.pipeline if step.type != "mmtl.LoadScoreMap"]
        return cfg, model, *(registry.DATASETS.build(loader.dataset) for loader in loaders)


def test_photographs_get_a_teacher_score_maps_and_a_student_at_224_pixels(tmp_path):
    lines = start(write_images("photos", (120, 100)), Path("photos-mmtl"), Wishes(val=1 / 3, device="cpu"))
    notes = [line for line in lines if "from scratch, as" in line]
    assert len(notes) == 2 and "pip install timm" in notes[0] and "lvvit_t.pth" in notes[1]
    assert lines[0] == "12 images in 2 classes (a b, c), 120 x 100 to 101 pixels"
    assert not any("frames of one video" in line for line in lines)  # they have been compared
    work, steps, then = read_steps(Path("photos-mmtl"))
    assert [step.name for step in steps] == ["teacher", "score_maps", "student"]
    for name, step in (("1_teacher", steps[0]), ("2_student", steps[2])):
        cfg, model, train, val = build(tmp_path / f"photos-mmtl/{name}.py")
        assert step.command == ("mmtl", "train", f"photos-mmtl/{name}.py") and Path(cfg.work_dir) == step.run
        assert len(train) == 8 and len(val) == 4 and train.CLASSES == val.CLASSES == ("a b", "c")
        assert {val[index]["inputs"].shape for index in range(4)} == {(3, 224, 224)}
        assert cfg.train_dataloader.batch_size == 8 and "my_images" not in Path(f"photos-mmtl/{name}.py").read_text()
    epochs = Config.fromfile("photos-mmtl/1_teacher.py").train_cfg.max_epochs
    arguments = ["photos-mmtl/1_teacher.py", f"work_dirs/photos/teacher/epoch_{epochs}.pth", "photos"]
    assert list(steps[1].command[2:5]) == arguments and cfg.score_maps == str(steps[1].out) == steps[1].command[5]
    assert f"epoch_{cfg.train_cfg.max_epochs}.pth photos --list photos-mmtl/val.txt -o " in then[0]
    assert f"epoch_{cfg.train_cfg.max_epochs}.pth NEW_IMAGES -o " in then[1] and "--list" not in then[1]
    assert cfg.auto_scale_lr.base_batch_size == 8 and cfg.val_evaluator.topk == (1,)
    assert sorted(Path("photos").rglob("*.png")) and not list(Path("photos").rglob("*.txt"))


def test_a_generated_folder_works_without_the_configs_of_mmtl(tmp_path):
    start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu"))
    shutil.move("out", tmp_path / "elsewhere")
    assert Config.fromfile("elsewhere/2_student.py").default_hooks.check_inputs


def test_validation_images_that_are_also_training_images_are_counted(tmp_path):
    """Guards: train/ and val/ with the same files looked like a good result."""
    folder = write_images("scenes", (32, 32), np.array([[0, 1]], np.uint8))
    for name in ("images", "masks"):
        shutil.copytree(folder / name, tmp_path / f"twice/train/{name}")
        shutil.copytree(folder / name, tmp_path / f"twice/val/{name}")
    (tmp_path / "twice/val/images/0.png").write_bytes((tmp_path / "twice/val/images/4.png").read_bytes())
    Image.new("RGB", (32, 33)).save(tmp_path / "twice/val/images/1.png")
    lines = [line for line in start(Path("twice"), Path("out"), Wishes(device="cpu")) if "also training" in line]
    assert len(lines) == 1 and lines[0].startswith("WARNING: 5 of 6 validation images are also training images, such")
    assert " and val/images/" in lines[0]
    then = read_steps(Path("out"))[2]
    assert ".pth twice -o " in then[0] and "all images" in then[0]  # not only those for validation
    for part in ("train", "val"):
        for path in Path("twice", part, "masks").iterdir():
            Image.fromarray(np.array(Image.open(path)) * np.uint8(255)).save(path)
    with pytest.raises(ValueError, match="writes index masks to new/masks[.] "):
        start(Path("twice"), Path("new"), Wishes(device="cpu"))


def test_small_images_get_small_tokens_and_no_pretrained_teacher():
    lines = start(write_images("digits", (32, 32)), Path("out"), Wishes(device="cpu"))
    cfg, model, train, val = build(Path("out/2_student.py"))
    assert val[0]["inputs"].shape == (3, 32, 32) and not [line for line in lines if "from scratch, as" in line]
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32), mode="tensor") is not None
    _, teacher, *_ = build(Path("out/1_teacher.py"))
    assert teacher.extract_feat(torch.zeros(1, 3, 32, 32), stage="backbone")[-1].shape[-2:] == (8, 8)


@pytest.fixture
def pretrained(monkeypatch):
    """A model of timm that counts as pretrained."""
    import timm

    create = timm.create_model
    monkeypatch.setattr(teachers, "check_hub", lambda: None)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **kwargs: create(name, **kwargs))
    return Wishes(teacher=["timm/mobilenetv3_small_050"], device="cpu")


def test_small_images_are_enlarged_for_a_pretrained_teacher(pretrained):
    start(write_images("digits", (32, 32)), Path("out"), pretrained)
    _, teacher, train, val = build(Path("out/1_teacher.py"))
    assert val[0]["inputs"].shape == train[0]["inputs"].shape == (3, 128, 128)
    assert "--input-size" not in read_steps(Path("out"))[1][1].command  # score maps at the size of training
    assert Config.fromfile("out/2_student.py").img_size == 32


def test_a_pretrained_teacher_keeps_its_weights_and_normalization(pretrained):
    start(write_images("photos", (120, 100)), Path("out"), pretrained)
    cfg, model, *_ = build(Path("out/1_teacher.py"))
    model.init_weights()
    saved = torch.load("out/mobilenetv3_small_050.pth")["state_dict"]
    assert torch.equal(saved["conv_stem.weight"], model.model.conv_stem.weight)
    logits = model(torch.rand(4, 3, 64, 64))
    assert logits.shape == (4, 2) and logits.eq(0).all()  # the first steps learn classes, not the size of logits
    assert cfg.mean_rgb == pytest.approx([123.675, 116.28, 103.53])


@pytest.mark.parametrize(
    ("names", "message"), [(["resnet"], "got resnet"), (["timm/a"], "offline"), (["a", "b"], "b is")]
)
def test_a_teacher_that_was_asked_for_is_not_replaced(names, message):
    with pytest.raises((ValueError, OSError), match=message):
        start(write_images("photos", (120, 100)), Path("out"), Wishes(teacher=names, device="cpu"))


def test_a_student_that_cannot_be_downloaded_is_named_with_the_file_to_save(monkeypatch):
    """The advice was to give a path instead of a URL, which no option takes."""

    def fail(url, _):
        raise download._error(url, Path("x"), "no name service")

    monkeypatch.setattr(students, "cached_download", fail)
    with pytest.raises(
        OSError, match=r"--student tiny: http\S* cannot be downloaded: no name service. Save it as "
    ) as e:
        start(write_images("photos", (120, 100)), Path("out"), Wishes(student="tiny", device="cpu"))
    assert "instead of the URL" not in str(e.value) and str(e.value).endswith(" or give --student scratch.")
    assert not Path("out").exists()


def test_an_existing_classifier_must_have_the_classes_of_the_folder():
    torch.save(dict(state_dict={}, meta=dict(dataset_meta=dict(classes=("c", "a b")))), "teacher.pth")
    wishes = Wishes(teacher=["teacher.py", "teacher.pth"], device="cpu")
    with pytest.raises(ValueError, match=r"must have the 2 classes of the folder \(a b, c, \.\.\.\)"):
        start(write_images("photos", (120, 100)), Path("out"), wishes)
    torch.save(dict(state_dict={}, meta=dict(dataset_meta=dict(classes=("a b", "c")))), "teacher.pth")
    start(Path("photos"), Path("out"), wishes)
    _, steps, _ = read_steps(Path("out"))
    assert [step.name for step in steps] == ["score_maps", "student"]
    assert steps[0].command[2:5] == ("teacher.py", "teacher.pth", "photos")


def test_configs_have_at_most_as_many_workers_as_there_are_cpus(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    start(write_images("photos", (120, 100)), Path("a"), Wishes(device="cuda"))
    start(write_images("scenes", (64, 48), np.array([0, 1], np.uint8)), Path("b"), Wishes(device="cpu"))
    for config in ("a/1_teacher", "a/2_student", "b/1_segmentation"):
        assert Config.fromfile(f"{config}.py").train_dataloader.num_workers == 1


def test_folders_with_their_own_split_have_no_hint_and_need_no_list():
    for part in ("train", "val"):
        write_images(f"photos/{part}", (32, 32))
    lines = start(Path("photos"), Path("out"), Wishes(device="cpu"))
    _, _, then = read_steps(Path("out"))
    assert not any("frames of one video" in line for line in lines) and " photos/val -o " in then[0]
    shutil.rmtree("photos/val")
    shutil.copytree("photos/train", "photos/val")
    lines = start(Path("photos"), Path("out"), Wishes(device="cpu"))
    assert sum("validation images are also training images, such as train/" in line for line in lines) == 1


def test_index_masks_are_used_and_their_classes_are_named():
    masks = np.array([0, 1, 2, 255], np.uint8)
    lines = start(write_images("scenes", (64, 48), masks), Path("out"), Wishes(device="cpu", classes=["x", "y", "z"]))
    cfg, model, train, val = build(Path("out/1_segmentation.py"))
    assert len(train) == 5 and len(val) == 1 and train.metainfo["classes"] == ("x", "y", "z")
    assert any("255 is ignored" in line for line in lines) and model.decode_head.num_classes == 3
    assert f"mmtl test out/1_segmentation.py {cfg.work_dir}/iter_" in read_steps(Path("out"))[2][1]
    sample = val[0]
    assert set(np.unique(sample["data_samples"].gt_sem_seg.data)) == {0, 1, 2, 255}
    assert all(side <= 48 and side % 16 == 0 for side in cfg.crop_size) and min(sample["inputs"].shape[1:]) == 48
    with pytest.raises(ValueError, match="--classes must have the 3 classes of the masks, got 1"):
        start(Path("scenes"), Path("out"), Wishes(device="cpu", classes=["x"]))


def test_masks_that_are_not_class_indices_are_converted_on_request():
    scenes = write_images("scenes", (64, 48), np.array([0, 255], np.uint8))
    with pytest.raises(ValueError, match="values 0, 255, which are not class indices. Add --convert"):
        start(scenes, Path("out"), Wishes(device="cpu"))
    assert not Path("out").exists()
    start(scenes, Path("out"), Wishes(device="cpu", convert=True))
    _, _, train, _ = build(Path("out/1_segmentation.py"))
    assert train.metainfo["classes"] == ("background", "foreground")
    assert set(np.unique(train.prepare_data(0)["data_samples"].gt_sem_seg.data)) <= {0, 1, 255}


def test_names_of_converted_classes_are_read_under_every_locale(monkeypatch):
    """Guards: classes.json, which is UTF-8, was read in the encoding of the locale."""
    scenes = write_images("scenes", (64, 48), np.array([0, 255], np.uint8))
    monkeypatch.setattr("io.text_encoding", lambda encoding, *_: encoding or "ascii")
    start(scenes, Path("out"), Wishes(device="cpu", convert=True, classes=("日", "é")))
    assert names_and_colors(FoundMasks("index", [0, 1]), Path("out/masks"), ())[0] == ("日", "é")


def test_a_color_that_means_no_label_is_ignored_on_request_and_black_is_named_otherwise():
    scenes = write_images("scenes", (64, 48), np.array([0, 1, 2], np.uint8))
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    with pytest.raises(ValueError, match="--ignore needs masks to convert"):
        start(scenes, Path("out"), Wishes(device="cpu", ignore="0"))
    for path in Path("scenes/masks").iterdir():
        Image.fromarray(colors[np.array(Image.open(path))]).save(path)
    with pytest.raises(ValueError, match="If a color means 'no label', also --ignore '#000000' ") as error:
        start(scenes, Path("out"), Wishes(device="cpu"))
    *rows, _, command = [line.split() for line in str(error.value).splitlines()[1:]]
    names = "'#000000=NAME,#0000ff=NAME,#ff0000=NAME'"
    assert command == ["mmtl", "start", "scenes", "-o", "out", "--convert", "--classes", names]
    assert rows == [[color, "33.3%"] for color in ("#000000", "#0000ff", "#ff0000")]
    lines = start(scenes, Path("out"), Wishes(device="cpu", convert=True))
    assert any("#000000 (black) is class 0" in line for line in lines)
    wishes = Wishes(device="cpu", convert=True, ignore="#000000", classes=["red", "blue"])  # in the wrong order
    assert "masks are converted: #0000ff is red, #ff0000 is blue" in start(scenes, Path("out"), wishes)
    lines = start(scenes, Path("out"), Wishes(device="cpu", convert=True, ignore="#000000"))
    assert not any("black" in line for line in lines) and any("255 is ignored" in line for line in lines)
    assert Config.fromfile("out/1_segmentation.py").classes == ("#0000ff", "#ff0000")
    names = ["#ff0000=car", "#0000ff=sky", "#000000=road"]
    lines = start(scenes, Path("out"), Wishes(device="cpu", convert=True, classes=names))
    assert not any("black" in line for line in lines)
    assert Config.fromfile("out/1_segmentation.py").classes == ("car", "sky", "road")


def test_a_mask_of_another_size_than_its_image_is_refused():
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    Image.new("L", (32, 24)).save("scenes/masks/3.png")
    with pytest.raises(ValueError, match=r"3.png: size must be 49 x 64 \(H x W\) .* got 24 x 32. Correct"):
        start(scenes, Path("out"), Wishes(device="cpu"))


def test_other_content_is_not_overwritten():
    Path("out").mkdir()
    Path("out/mine.py").touch()
    with pytest.raises(FileExistsError, match="out has other content"):
        start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu"))


def test_edited_configs_are_replaced_only_on_request():
    photos, out, wishes = write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu")
    start(photos, out, wishes)
    start(photos, out, Wishes(device="cpu", val=0.5))  # nothing has been edited
    for name in ("2_student.py", "val.txt", "_base_/pretrain_runtime.py"):
        text = (out / name).read_text()
        (out / name).write_text(f"{text}# mine\n")
        for options in ({}, {}, dict(force=True, teacher=["resnet"])):
            with pytest.raises((FileExistsError, ValueError), match="got resnet" if options else f"{name} has been"):
                start(photos, out, Wishes(device="cpu", **options))
        assert "# mine" in (out / name).read_text()
        start(photos, out, Wishes(device="cpu", force=True))
        assert "# mine" not in (out / name).read_text()
    (out / "3_mine.py").touch()
    start(photos, out, wishes)


def test_a_start_that_is_refused_leaves_no_folder():
    with pytest.raises(ValueError, match="got resnet"):
        start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu", teacher=["resnet"]))
    assert not Path("out").exists()


def test_filling_a_template_keeps_comments_and_refuses_unknown_names():
    text = "# head\na = 1  # ü first\nb = dict(\n    c=2,\n)\n"
    assert fill(text, dict(a="x", b=(1,))) == "# head\na = 'x'  # ü first\nb = (1,)\n"
    with pytest.raises(KeyError, match="zz: not a variable"):
        fill(text, dict(zz=1))


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_teachers_that_need_none(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no name service")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(OSError, match=r"cannot be reached: no name service\. --teacher lite/efficientnet_lite0"):
        check_hub()


def test_file_names_cannot_change_the_terminal(capsys):
    photos = write_images("photos", (40, 40))
    (next(path for path in photos.iterdir() if path.is_dir()) / "red\x1b[31m\nline.png").write_bytes(b"no image")
    with pytest.raises(SystemExit, match="0"):
        run_command("start", [str(photos), "--device", "cpu", "--teacher", "cnn"], "mmtl start")
    out = capsys.readouterr().out
    assert "red\\x1b[31m\\nline.png" in out and "\x1b" not in out


def test_printed_and_written_commands_are_quoted(capsys):
    with pytest.raises(SystemExit, match="0"):
        run_command("start", [str(write_images("my photos", (32, 32))), "--device", "cpu"], "mmtl start")
    assert "\n    mmtl train 'my photos-mmtl'\n" in capsys.readouterr().out
    text = Path("my photos-mmtl/2_student.py").read_text()
    assert "# Command:   mmtl train 'my photos-mmtl/2_student.py'\n" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing is not a folder. Give"),
        (["photos", "--val", "1.5"], "--val must be a share between 0 and 1, got 1.5"),
        (["photos", "-o", "a.txt"], "--out must be a folder that can be written, got a.txt: Not a directory. Give"),
        (["photos", "-o", "a.txt/b/c"], "--out must be a folder that can be written, got a.txt/b/c: Not a directory"),
        (["photos", "-o", "/proc/x"], "--out must be a folder that can be written, got /proc/x: "),
    ],
)
def test_arguments_are_checked_before_images_are_read(arguments, message, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmtl.apis.start.start", None)  # nor is torch imported
    Path("photos").mkdir()
    Path("a.txt").touch()
    with pytest.raises(SystemExit, match="1"):
        run_command("start", arguments, "mmtl start")
    assert f"mmtl start: {message}" in capsys.readouterr().err


def test_more_names_than_values_are_warned_of():
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    lines = start(scenes, Path("out"), Wishes(device="cpu", classes=["a", "b", "c", "d"]))
    assert any("WARNING: of the values 0 to 3 of classes, 2 to 3 occur nowhere" in line for line in lines)


def test_names_must_have_the_order_of_the_masks():
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    Path("scenes/masks/classes.json").write_text('{"classes": ["a, b", "c"]}')
    for names, given in ((["c", "a, b"], 'c, "a, b"'), (["0=c", "1=a, b"], 'c, "a, b"'), (["c", "d"], "c, d")):
        with pytest.raises(ValueError, match=f'classes.json ."a, b", c., got {given}. Omit it'):
            start(scenes, Path("out"), Wishes(device="cpu", classes=names))
    with pytest.raises(ValueError, match="--classes must have different names, got c more than once"):
        start(scenes, Path("out"), Wishes(device="cpu", classes=["c", "c"]))
    with pytest.raises(SystemExit, match="0"):
        run_command("start", ["scenes", "-o", "out", "--device", "cpu", "--classes", '"a, b", c'], "mmtl start")
    assert Config.fromfile("out/1_segmentation.py").classes == ("a, b", "c")
    lines = start(scenes, Path("out"), Wishes(device="cpu", classes=["x", "y"]))
    assert any("WARNING: classes must be the classes of the masks" in line for line in lines)


def test_options_of_masks_are_refused_for_class_folders():
    with pytest.raises(ValueError, match="--classes, --convert and --ignore need masks, got class folders: a b, c"):
        start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu", convert=True))


def test_unedited_files_of_a_start_of_another_kind_are_removed():
    out = Path("out")
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    for mine in (False, True):
        start(write_images("photos", (32, 32)), out, Wishes(device="cpu"))
        assert (out / "1_teacher.py").exists() and not (out / "1_segmentation.py").exists()
        if mine:
            (out / "3_mine.py").write_text('_base_ = ["2_student.py"]\n')
        start(scenes, out, Wishes(device="cpu"))
        assert not (out / "1_teacher.py").exists() and (out / "2_student.py").exists() == mine
        Config.fromfile(out / ("3_mine.py" if mine else "1_segmentation.py"))


def test_weights_of_an_earlier_start_are_removed_but_not_those_of_the_user():
    out = Path("out")
    with writing(out, force=False):
        out.mkdir()
        for name in (".mmtl-start", "1_teacher.py", "old.pth", "used.pth"):
            (out / name).touch()
    (out / "mine.pth").touch()
    for _ in range(2):
        with writing(out, force=False):
            (out / "1_segmentation.py").write_text("weights = 'out/used.pth'")
    assert sorted(path.name for path in out.glob("[!.]*")) == ["1_segmentation.py", "mine.pth", "used.pth"]
