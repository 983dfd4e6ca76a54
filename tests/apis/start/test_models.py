"""The teacher and the LV-ViT of `mmtl start` fit the images and the weights that are at hand."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from helpers.start_folders import build, write_images
from mmengine.config import Config

import mmtl.apis.start.teacher as teachers
import mmtl.apis.start.weights as students
from mmtl.apis.project import read_steps
from mmtl.apis.start.start import Wishes, start
from mmtl.apis.start.teacher import check_hub
from mmtl.utils import download

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def pretrained(monkeypatch):
    """A model of timm that counts as pretrained."""
    import timm

    create = timm.create_model
    monkeypatch.setattr(teachers, "check_hub", lambda: None)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **kwargs: create(name, **kwargs))
    return Wishes(teacher=["timm/mobilenetv3_small_050"], device="cpu")


def test_small_images_get_small_tokens_and_no_pretrained_teacher():
    lines = start(write_images("digits", (32, 32)), Path("out"), Wishes(device="cpu"))
    cfg, model, train, val = build(Path("out/2_student.py"))
    assert val[0]["inputs"].shape == (3, 32, 32) and not [line for line in lines if "from scratch, as" in line]
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32), mode="tensor") is not None
    _, teacher, *_ = build(Path("out/1_teacher.py"))
    assert teacher.extract_feat(torch.zeros(1, 3, 32, 32), stage="backbone")[-1].shape[-2:] == (8, 8)


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


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_teachers_that_need_none(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no name service")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(OSError, match=r"cannot be reached: no name service\. --teacher lite/efficientnet_lite0"):
        check_hub()
