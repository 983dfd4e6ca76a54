"""The hook, its loading wrapper and the check tool accept and refuse the same annotations, with the same words."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from PIL import Image

from mmtl.apis.check_segmentation import check_pair
from mmtl.datasets.annotation_rules import RENAMED, names_problem
from mmtl.engine.hooks import CheckAnnotationsHook
from mmtl.engine.hooks.check_annotations import CheckedLoading
from mmtl.utils.classes_file import known_classes

HW = (6, 9)
RAMP = (np.arange(54, dtype=np.uint8) % 3).reshape(HW)


def label(value: int, dtype: type = np.uint8) -> np.ndarray:
    labels = RAMP.astype(dtype)
    labels[2, 3] = value
    return labels


def write(path: Path, labels: np.ndarray, mode: str | None = None) -> None:
    image = Image.fromarray(labels)
    (image.convert(mode) if mode else image).save(path)


def truncate(path: Path) -> None:
    write(path, np.random.default_rng(0).integers(0, 3, HW, np.uint8))
    path.write_bytes(path.read_bytes()[:50])


# name: (writer of the annotation, part of the problem text or None, height and width of the image)
FILES = {
    "8 bit": (lambda p: write(p, RAMP), None, HW),
    "palette": (lambda p: Image.fromarray(RAMP, "P").save(p), None, HW),
    "16 bit": (lambda p: write(p, label(2, np.uint16)), None, HW),
    "ignored label": (lambda p: write(p, label(255)), None, HW),
    "last class": (lambda p: write(p, np.full(HW, 2, np.uint8)), None, HW),
    "one row": (lambda p: write(p, RAMP[:1]), None, (1, 9)),
    "one column": (lambda p: write(p, RAMP[:, :1]), None, (6, 1)),
    "one pixel": (lambda p: write(p, RAMP[:1, :1]), None, (1, 1)),
    "first label too high": (lambda p: write(p, label(3)), "0 to 2 or 255, got 3 (1 pixels)", HW),
    "254": (lambda p: write(p, label(254)), "0 to 2 or 255, got 254 (1 pixels)", HW),
    "16 bit, 256": (lambda p: write(p, label(256, np.uint16)), "below 256, got values up to 256", HW),
    "16 bit, 255 + class": (lambda p: write(p, label(257, np.uint16)), "below 256, got values up to 257", HW),
    "16 bit, 7": (lambda p: write(p, label(7, np.uint16)), "0 to 2 or 255, got 7 (1 pixels)", HW),
    "RGB": (lambda p: write(p, RAMP, "RGB"), "one channel of class indices, got RGB", HW),
    "RGBA": (lambda p: write(p, RAMP, "RGBA"), "one channel of class indices, got RGBA", HW),
    "gray and alpha": (lambda p: write(p, RAMP, "LA"), "one channel of class indices, got LA", HW),
    "smaller": (lambda p: write(p, RAMP[:, :5]), "6 x 9 (H x W) as of the image, got 6 x 5", HW),
    "larger": (lambda p: write(p, np.repeat(RAMP, 2, 0)), "6 x 9 (H x W) as of the image, got 12 x 9", HW),
    "transposed": (lambda p: write(p, RAMP.T), "6 x 9 (H x W) as of the image, got 9 x 6", HW),
    "row for column": (lambda p: write(p, RAMP[:1]), "6 x 1 (H x W) as of the image, got 9", (6, 1)),
    "truncated": (truncate, "cannot be read: ", HW),
    "text": (lambda p: p.write_text("labels"), "cannot be read: cannot identify image file", HW),
}


def problem_in_run(pair: dict, load: LoadAnnotations) -> str | None:
    """Load one sample as a run does, and return the hook's error message."""
    model = SimpleNamespace(decode_head=SimpleNamespace(num_classes=3, ignore_index=255))
    try:
        results = CheckedLoading(load)(LoadImageFromFile()(dict(pair)))
        sample = PackSegInputs()(results)["data_samples"]
        CheckAnnotationsHook()._before_iter(SimpleNamespace(model=model), 0, dict(data_samples=[sample]))
    except ValueError as error:
        return str(error)
    return None


def check_both(tmp_path: Path, image_hw: tuple[int, int], expected: str | None, **load: object) -> None:
    """Expect the same problem of a file in a run and in the check tool."""
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((*image_hw, 3), np.uint8))
    reduced = load.get("reduce_zero_label", False)
    paths = dict(img_path=str(tmp_path / "image.png"), seg_map_path=str(tmp_path / "annotation.png"))
    pair = dict(**paths, seg_fields=[], label_map=None, reduce_zero_label=reduced)
    in_run = problem_in_run(pair, LoadAnnotations(**load))
    loading = dict(load_image=LoadImageFromFile(), load_labels=LoadAnnotations(**load))
    problems = check_pair(pair, **loading, num_classes=3, ignore_index=255).problems
    if expected is None:
        assert in_run is None and problems == []
    else:
        assert expected in problems[0].text and problems[0].text.startswith(paths["seg_map_path"])
        assert in_run.startswith(f"{problems[0].text}. ") and "check_segmentation_data" in in_run


@pytest.mark.parametrize("backend", ["pillow", "cv2"])
@pytest.mark.parametrize("name", FILES)
def test_run_and_check_tool_agree_on_every_file(tmp_path, name, backend):
    write_file, expected, image_hw = FILES[name]
    if name == "palette" and backend == "cv2":
        expected = "6 x 9 (H x W) as of the image, got 6 x 9 x 3"  # OpenCV converts indices to colors
    write_file(tmp_path / "annotation.png")
    check_both(tmp_path, image_hw, expected, imdecode_backend=backend)


DIFFER = "class names differ"


def test_the_classes_of_masks_are_in_their_folder_or_up_to_two_above(tmp_path):
    (tmp_path / "classes.json").write_text('{"classes": ["a", "b"]}')
    assert known_classes(tmp_path / "masks/train")[1] == dict(classes=["a", "b"])
    assert known_classes(tmp_path / "masks/train/deep") is None
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/classes.json").write_text('["of another tool"]')
    assert names_problem(["a", "b"], tmp_path / "masks") is None
    (tmp_path / "masks/classes.json").write_text('{"classes": ["a", "b", "c"]}')
    for names, kind in (("axc", RENAMED), ("xyz", RENAMED), ("acb", DIFFER), ("xab", DIFFER), ("ab", DIFFER)):
        assert names_problem([*names], tmp_path / "masks").kind == kind
    (tmp_path / "masks/classes.json").write_text('{"classes": ["a",]}')
    with pytest.raises(ValueError, match="masks/classes.json is not a JSON file: .* Correct or remove it"):
        names_problem(["a", "b"], tmp_path / "masks")


@pytest.mark.parametrize(
    ("value", "expected"), [(0, None), (1, None), (3, None), (255, None), (4, "1 to 3, 0 or 255, got 4"), (9, "got 9")]
)
def test_reduce_zero_label_is_undone_in_both_messages(tmp_path, value, expected):
    write(tmp_path / "annotation.png", label(value))
    check_both(tmp_path, HW, expected, reduce_zero_label=True)
