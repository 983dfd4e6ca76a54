"""Class tables are compared once at the start; what would shift labels or count wrong cells stops the run."""

import functools

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from helpers import tiny_segmentation as tiny
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from test_check_inputs import run_of

from mmtl.apis.export_onnx import build_model, export_onnx
from mmtl.apis.segment import segment
from mmtl.engine.hooks.check_classes import check_same_classes
from mmtl.models import TokenLabelDataPreprocessor, TokenLabelHead, collate_training_batch


@pytest.fixture
def warnings(monkeypatch):
    logger, lines = MMLogger.get_instance("check_classes"), []
    monkeypatch.setattr(logger, "handle", lambda r: lines.append(r.getMessage()) if r.levelno >= 30 else None)
    return lines


def folders(root, *names):
    """Write class folders with one image each and return the dataset."""
    for name in names:
        (root / name).mkdir(parents=True)
        cv2.imwrite(str(root / name / "0.png"), np.zeros((4, 4, 3), np.uint8))
    return DATASETS.build(dict(type="CustomDataset", data_root=str(root), pipeline=[]))


def check(train, val=None, num_classes=3):
    HOOKS.build(dict(type="mmtl.CheckInputsHook")).before_train(run_of(train, num_classes, 1, val=val))


def test_a_validation_folder_that_lacks_a_class_or_has_one_more_is_refused_with_both_tables(tmp_path):
    train = folders(tmp_path / "train", "cat", "dog", "owl")
    with pytest.raises(ValueError, match=r"got 3 and 2, which differ in 1 'dog', 2 'owl' and 1 'owl'.*would shift"):
        check(train, folders(tmp_path / "fewer", "cat", "owl"))
    with pytest.raises(ValueError, match="got 3 and 4"):
        check(train, folders(tmp_path / "more", "ant", "cat", "dog", "owl"), num_classes=4)
    check(train, folders(tmp_path / "same", "cat", "dog", "owl"))


def test_a_lacking_last_class_is_a_warning_as_no_label_shifts(tmp_path, warnings):
    check(folders(tmp_path / "train", "cat", "dog", "owl"), folders(tmp_path / "val", "cat", "dog"))
    assert any("got 3 and 2" in line for line in warnings)


def test_other_names_of_as_many_classes_are_a_warning(warnings):
    check_same_classes({"a": ["0", "1"], "b": ["cat", "dog"], "c": ()})
    assert len(warnings) == 1 and "0 '0', 1 '1' and 0 'cat', 1 'dog'" in warnings[0]
    check_same_classes({})


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_hidden_folder_is_no_class(tmp_path, split):
    names = dict(train=["cat", "dog", "owl"], val=["cat", "dog", "owl"])
    names[split].append(".ipynb_checkpoints")
    sets = {name: folders(tmp_path / name, *classes) for name, classes in names.items()}
    with pytest.raises(ValueError, match=f"{split}/?: the hidden folder .ipynb_checkpoints counts as a class"):
        check(*sets.values(), num_classes=4)


def test_images_in_hidden_folders_are_refused_as_they_have_no_score_maps(tmp_path):
    (tmp_path / ".data/cat/.ipynb_checkpoints").mkdir(parents=True)  # a hidden root itself may be meant
    cv2.imwrite(str(tmp_path / ".data/cat/.ipynb_checkpoints/0.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / ".data/dog").mkdir()
    cv2.imwrite(str(tmp_path / ".data/dog/0.png"), np.zeros((4, 4, 3), np.uint8))
    dataset = dict(type="CustomDataset", data_root=str(tmp_path / ".data"), pipeline=[])
    with pytest.raises(ValueError, match=r"cat/.ipynb_checkpoints/0.png: a file in a hidden folder"):
        check(DATASETS.build(dataset), num_classes=2)
    (tmp_path / ".data/cat/.ipynb_checkpoints/0.png").rename(tmp_path / ".data/cat/0.png")
    check(DATASETS.build(dataset), num_classes=2)


def test_a_head_of_more_classes_than_the_dataset_is_a_warning_with_both_counts(tmp_path, warnings):
    check(folders(tmp_path, "cat", "dog", "owl"), num_classes=1000)
    assert any("should be 3" in line and "cat, dog, owl" in line and "got 1000" in line for line in warnings)


def test_a_checkpoint_of_other_classes_is_not_tested(tmp_path):
    hook, val = HOOKS.build(dict(type="mmtl.CheckInputsHook")), folders(tmp_path, "cat", "owl")
    hook.after_load_checkpoint(None, dict(meta=dict(dataset_meta=dict(classes=("cat", "dog", "owl")))))
    with pytest.raises(ValueError, match="The classes of the checkpoint and of the validation or test set"):
        hook.before_test(run_of(val, 3, 1, val=val))


@pytest.mark.parametrize(
    "info", [dict(gt_label=[0, 2]), dict(gt_label=0, gt_score=[0.5, 0.5, 0.0]), dict(gt_label=[])]
)
def test_several_or_soft_labels_are_refused_before_the_first_step(info):
    class Labeled(list):
        def get_data_info(self, index):
            return dict(info, img_path="a.png")

    run = run_of(Labeled([0, 1]), 3, 1)
    run.model.head = TokenLabelHead(3, 4)
    with pytest.raises(ValueError, match="a.png: an image must have one class label, got"):
        HOOKS.build(dict(type="mmtl.CheckInputsHook")).before_train(run)
    run_of(Labeled([0]), 3, 1)


@pytest.fixture
def config(tmp_path):
    tiny.write_data(tmp_path)
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "run"), f"classes_{tmp_path.name}"
    cfg.default_hooks = dict(
        check_annotations=dict(type="mmtl.CheckAnnotationsHook"), confusion=dict(type="mmtl.ConfusionMatrixHook")
    )
    cfg.visualizer.name = cfg.experiment_name
    return cfg


@pytest.mark.parametrize("count", [2, 5])
def test_a_decode_head_of_another_class_count_is_refused_with_the_dataset_classes(config, count):
    config.model.decode_head.num_classes = count
    with pytest.raises(ValueError, match=f"decode_head.num_classes must be 3.*ground, disc, bar.*got {count}"):
        Runner.from_cfg(config).train()


def test_an_auxiliary_head_of_another_class_count_is_refused_by_its_name(config):
    config.model.auxiliary_head = [dict(config.model.decode_head), dict(config.model.decode_head, num_classes=4)]
    with pytest.raises(ValueError, match="auxiliary_head.1.num_classes must be 3"):
        Runner.from_cfg(config).train()


def test_segmentation_sets_of_other_classes_are_refused(config):
    config.val_dataloader.dataset.metainfo = dict(classes=("ground", "bar", "disc"), palette=[[0] * 3] * 3)
    with pytest.raises(ValueError, match="The classes of the training set and of the validation set"):
        Runner.from_cfg(config).train()


def test_another_ignored_label_of_head_or_evaluator_is_a_warning(config, caplog):
    config.model.decode_head.ignore_index = 254
    config.val_evaluator.ignore_index = 0
    runner, lines = Runner.from_cfg(config), []
    runner.logger.handle = lambda r: lines.append(r.getMessage())
    runner.train()
    for name in ("model.decode_head", "IoUMetric"):
        assert any(f"ignore_index of {name} should be 255" in line for line in lines)


def rewrite_masks(root, change):
    for path in root.glob("annotations/*/*.png"):
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


@pytest.mark.parametrize(
    ("change", "reduce_zero_label"),
    [(lambda m: np.where(m > 0, 255, 0).astype(np.uint8), False), (lambda m: (m > 0).astype(np.uint8), True)],
)
def test_masks_of_0_and_255_or_of_0_and_1_under_reduce_zero_label_are_a_warning(
    config, tmp_path, change, reduce_zero_label
):
    rewrite_masks(tmp_path, change)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.reduce_zero_label = reduce_zero_label
    runner, lines = Runner.from_cfg(config), []
    runner.logger.handle = lambda r: lines.append((r.levelname, r.getMessage()))
    runner.train()
    assert any(level == "WARNING" and "occur in no mask" in line for level, line in lines)


BINARY = dict(  # classes, changes of the head, reduce_zero_label, labels of background and foreground in the files
    softmax=(("ground", "disc"), dict(num_classes=2), False, (0, 1)),
    sigmoid=(("ground", "disc"), dict(num_classes=2, out_channels=1, threshold=0.5), False, (0, 1)),
    one_class=(("disc",), dict(num_classes=1, out_channels=1, threshold=0.5), True, (0, 1)),
    one_class_and_ignored=(("disc",), dict(num_classes=1, out_channels=1, threshold=0.5), False, (255, 0)),
)


def check_exported(path, model, folder):
    """Export a trained model, and compare onnxruntime's logits with its own."""
    torch.save(dict(state_dict=model.state_dict()), folder / "trained.pth")
    export_onnx(path, folder / "model.onnx", folder / "trained.pth")
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad(), DefaultScope.overwrite_default_scope("mmseg"):
        expected = build_model(Config.fromfile(path), folder / "trained.pth")(images)
    (found,) = onnxruntime.InferenceSession(str(folder / "model.onnx")).run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", BINARY)
def test_binary_segmentation_trains_validates_draws_and_exports_in_every_form(config, tmp_path, form):
    classes, head, reduce_zero_label, (background, foreground) = BINARY[form]
    rewrite_masks(tmp_path, lambda m: np.where(m > 0, foreground, background).astype(np.uint8))
    config.model.decode_head.update(head)
    config.model.decode_head.loss_decode.use_sigmoid = head.get("out_channels") == 1
    for loader in (config.train_dataloader, config.val_dataloader):
        palette = [[i, i, i] for i in range(len(classes))]
        loader.dataset.update(metainfo=dict(classes=classes, palette=palette), reduce_zero_label=reduce_zero_label)
    config.default_hooks.visualization = dict(type="SegVisualizationHook", draw=True, interval=1)
    runner = Runner.from_cfg(config)
    runner.train()
    assert list(tmp_path.glob("run/*/vis_data/vis_image/confusion_matrix_2.png"))
    assert len(list(tmp_path.glob("run/*/vis_data/vis_image/val_*.png"))) == 3
    with DefaultScope.overwrite_default_scope("mmseg"):
        logits = build_model(config, None)(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, head.get("out_channels", 2), 32, 32)
    config.dump(tmp_path / "dumped.py")
    if form != "one_class_and_ignored":  # the model of one_class
        check_exported(tmp_path / "dumped.py", runner.model, tmp_path)
    segmented, failures = segment(tmp_path / "dumped.py", "random", [tmp_path / "images/val"], tmp_path / "out")
    assert (segmented, failures) == (3, {})
    rows = (tmp_path / "out/areas.csv").read_text().splitlines()
    assert {len(row.split(",")) for row in rows} == {3 + 2}  # two areas, of one class that and the background


def test_a_test_set_of_another_class_count_is_refused(config):
    config.model.decode_head.num_classes = 5
    with pytest.raises(ValueError, match="decode_head.num_classes must be 3, the number of classes of the test set"):
        Runner.from_cfg(config).test()


def test_one_output_channel_under_a_softmax_is_a_warning(config, tmp_path):
    rewrite_masks(tmp_path, lambda m: m.clip(0, 0))
    config.model.decode_head.update(num_classes=1, out_channels=1, threshold=0.5)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.metainfo = dict(classes=("ground",), palette=[[0, 0, 0]])
    runner, lines = Runner.from_cfg(config), []
    runner.logger.handle = lambda record: lines.append(record.getMessage())
    runner.train()
    assert any("model.decode_head has one output channel, for which a softmax is constant" in line for line in lines)


def test_other_class_counts_of_data_preprocessor_or_collate_function_are_refused_by_name(tmp_path):
    run = run_of(folders(tmp_path, "cat", "dog"), 2, 1)
    run.model.data_preprocessor = TokenLabelDataPreprocessor(num_classes=3)
    hook = HOOKS.build(dict(type="mmtl.CheckInputsHook"))
    with pytest.raises(ValueError, match="model.data_preprocessor.num_classes must be 2, as model.head.* got 3"):
        hook.before_train(run)
    run.model.data_preprocessor = TokenLabelDataPreprocessor(num_classes=2)
    run.train_dataloader.collate_fn = functools.partial(collate_training_batch, num_classes=4)
    with pytest.raises(ValueError, match="train_dataloader.collate_fn.num_classes must be 2, .* got 4"):
        hook.before_train(run)
