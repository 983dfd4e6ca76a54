import cv2
import numpy as np
import pytest
from helpers import tiny_segmentation
from helpers.online_annotators import write_cnn
from helpers.paths import ROOT
from helpers.synthetic_data import write_classification_data
from matplotlib.figure import Figure

from mmtl.apis.browse_samples import browse_samples
from mmtl.score_maps import ScoreMap, ScoreMapWriter

CONFIG = """
default_scope = "mmpretrain"
model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=dict(
        type="mmtl.LVViT",
        arch=dict(
            embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8, stem_channels=None, residual_divisor=1
        ),
        img_size=32,
        patch_size=8,
    ),
    head=dict(type="mmtl.TokenLabelHead", num_classes=6, in_channels=8),
    data_preprocessor=dict(to_rgb=True),
)
train_dataloader = dict(
    dataset=dict(
        type="CustomDataset",
        data_prefix="{root}/images",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="mmtl.LoadScoreMap", store="{root}/store", image_root="{root}/images"),
            dict(type="mmtl.Resize", scale=(32, 32)),
            dict(type="mmtl.RandomFlip", prob=1.0),
            dict(type="mmtl.PackTokenLabelInputs"),
        ],
    )
)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six images, red on their left; six score maps with class 4 on their left and class 1 on their right."""
    root = tmp_path_factory.mktemp("browse")
    image = np.zeros((24, 40, 3), np.uint8)
    image[:, :20, 2] = 250
    scores, classes = np.full((4, 4, 1), 5, np.float16), np.ones((4, 4, 1), np.uint16)
    classes[:, :2] = 4
    with ScoreMapWriter(root / "store", num_classes=6, grid_hw=(4, 4), topk=1) as writer:
        for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
            path = root / "images" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
            writer.add(f"{name}.png", ScoreMap(scores, classes))
    (root / "config.py").write_text(CONFIG.replace("{root}", root.as_posix()))
    return root


def test_figure_is_written_and_nothing_else(root, tmp_path):
    out = tmp_path / "new" / "figure.png"
    assert browse_samples(root / "config.py", out, 4) == 4
    assert cv2.imread(str(out)).std() > 5
    assert [path.name for path in out.parent.iterdir()] == ["figure.png"]


def test_seed_determines_the_samples(root, tmp_path):
    figures = []
    for seed in (0, 0, 1):
        browse_samples(root / "config.py", tmp_path / "figure.png", 2, seed)
        figures.append((tmp_path / "figure.png").read_bytes())
    assert figures[0] == figures[1] != figures[2]


def test_small_dataset_is_drawn_completely(root, tmp_path):
    assert browse_samples(root / "config.py", tmp_path / "figure.pdf", 20) == 6


def test_images_and_labels_are_those_of_training(root, tmp_path, monkeypatch):
    """The flip puts red and class 4 on the right; red is the last channel of the file's BGR."""
    drawn = []

    def record(samples, names):
        drawn.extend(samples)
        return Figure()

    monkeypatch.setattr("mmtl.apis.browse_samples.draw_samples", record)
    browse_samples(root / "config.py", tmp_path / "figure.png", 6)
    assert len(drawn) == 6
    for sample in drawn:
        assert sample.image[:, 20:, 0].min() > 200 and sample.image[:, :12].max() < 50
        np.testing.assert_array_equal(sample.tokens.top_class, np.repeat([[1, 1, 4, 4]], 4, axis=0))
        assert (sample.tokens.probability[:, [0, 3]] > 0.9).all() and sample.tokens.counts.all()


def test_user_errors_name_the_file_and_write_nothing(root, tmp_path):
    config, out = root / "config.py", tmp_path / "figure.png"
    text = config.read_text()
    preprocessor = 'data_preprocessor=dict(type="mmpretrain.ClsDataPreprocessor", '
    files = {
        "storeless.py": text.replace("/store", "/gone"),
        "labels.py": text.replace("data_preprocessor=dict(", preprocessor),
        "folders.py": text.replace("data_prefix=", "metainfo=dict(classes=['a']), data_prefix="),
        "empty.py": "default_scope = 'mmpretrain'",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    cases = [
        (tmp_path / "storeless.py", out, "gone' does not exist"),
        (tmp_path / "labels.py", out, "labels.py trains without token labels.*ClsDataPreprocessor. Give .*student"),
        (tmp_path / "folders.py", out, "number of subfolders"),
        (tmp_path / "empty.py", out, "empty.py has no train_dataloader"),
        (tmp_path / "absent.py", out, "absent.py: no such file"),
        (tmp_path, out, "must be a config, got a folder. Give one of its configs: .*/empty.py, .*folders.py"),
        (config, tmp_path / "figure.txt", "figure.txt: .* .png, .jpg"),
    ]
    for config, out, message in cases:
        with pytest.raises((OSError, ValueError), match=message):
            browse_samples(config, out)
    assert not list(tmp_path.glob("figure*"))


def test_undecodable_image_is_named(root, tmp_path):
    path = root / "images" / "b" / "1.png"
    content = path.read_bytes()
    path.write_bytes(b"not an image")
    try:
        with pytest.raises(ValueError, match="b/1.png"):
            browse_samples(root / "config.py", tmp_path / "figure.png")
    finally:
        path.write_bytes(content)


def test_images_augmented_on_the_device_are_drawn_as_training_sees_them(root, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("mmtl.apis.browse_samples.draw_samples", lambda *args: drawn.append(args[0]) or Figure())
    config = tmp_path / "on_device.py"
    config.write_text((root / "config.py").read_text().replace("prob=1.0", "prob=1.0, on_device=True"))
    for path in (root / "config.py", config):
        browse_samples(path, tmp_path / "figure.png", 6)
    for in_worker, on_device in zip(*drawn, strict=True):
        np.testing.assert_array_equal(in_worker.image, on_device.image)
        np.testing.assert_array_equal(in_worker.tokens.top_class, on_device.tokens.top_class)


def test_a_recipe_draws_from_another_data_root_with_its_score_maps(tmp_path):
    write_classification_data(tmp_path)
    options = {
        "train_dataloader.dataset.data_root": str(tmp_path / "images"),
        "train_dataloader.dataset.pipeline.1.store": str(tmp_path / "score_maps"),
    }
    recipe = ROOT / "configs/examples/lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"
    assert browse_samples(recipe, tmp_path / "figure.png", 4, cfg_options=options) == 4


def test_labels_of_an_online_annotator_are_drawn_without_a_store(tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), np.full((32, 32, 3), 120, np.uint8))
    (tmp_path / "images/a").mkdir(parents=True)
    (tmp_path / "image.png").rename(tmp_path / "images/a/0.png")
    (tmp_path / "config.py").write_text(CONFIG.format(root=tmp_path))
    annotator = dict(model=write_cnn(tmp_path, classes=6), checkpoint="random")
    options = {f"model.annotator.{name}": value for name, value in annotator.items()}
    assert browse_samples(tmp_path / "config.py", tmp_path / "out.png", cfg_options=options) == 1
    assert (tmp_path / "out.png").stat().st_size > 0


@pytest.mark.parametrize("name", ["MixToken", "CutMix"])
def test_mixed_samples_are_drawn_as_the_network_gets_them(root, tmp_path, monkeypatch, name):
    """The partner's red half and its class 4 are pasted together, and the title names both classes."""
    drawn = []
    monkeypatch.setattr("mmtl.apis.browse_samples.draw_samples", lambda *args: drawn.append(args[0]) or Figure())
    monkeypatch.setattr("mmtl.models.batch_augments.mix_token.cut_box", lambda *_: (0, 0, 4, 2))
    box = np.array([0, 32, 0, 16]), 0.5
    monkeypatch.setattr("mmtl.models.batch_augments.CutMix.cutmix_bbox_and_lam", lambda *_: box)
    config = tmp_path / "mixed.py"
    augments = f"data_preprocessor=dict(batch_augments=dict(augments=[dict(type='mmtl.{name}')], probs=[1.0]), "
    text = (root / "config.py").read_text().replace("data_preprocessor=dict(", augments)
    config.write_text(text.replace("prob=1.0),", "prob=0.5),"))  # flipped ones have red at the other side
    browse_samples(config, tmp_path / "figure.png", 6, seed=3)
    (samples,) = drawn
    assert len({sample.image.tobytes() for sample in samples}) >= 2
    for sample in samples:
        is_red = sample.image[4::8, 4::8, 0] > 200
        np.testing.assert_array_equal(sample.tokens.top_class, np.where(is_red, 4, 1))
    assert any("50%" in sample.title for sample in samples)


def test_crops_of_a_segmentation_config_are_drawn_with_their_masks(tmp_path, monkeypatch):
    tiny_segmentation.write_data(tmp_path)
    drawn = []
    monkeypatch.setattr("mmtl.apis.browse_samples.draw_samples", lambda *args: drawn.append(args) or Figure())
    assert browse_samples(tiny_segmentation.write_config(tmp_path), tmp_path / "crops.png", 3) == 3
    samples, names, palette = drawn[0]
    assert tuple(names) == tiny_segmentation.CLASSES and palette.tolist()[1] == [230, 159, 0]
    for sample in samples:
        assert sample.image.shape == (32, 32, 3) and sample.tokens.top_class.shape == (32, 32)
        brightness = [sample.image[sample.tokens.top_class == k].mean() for k in np.unique(sample.tokens.top_class)]
        assert brightness == sorted(brightness)  # as the synthetic classes are
