"""Hooks of segmentation runs, in a real Runner on synthetic data."""

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.structures import SegDataSample

from mmtl.apis.run_logs import result_of
from mmtl.engine.hooks import ConfusionMatrixHook
from mmtl.engine.hooks.check_annotations import CheckedLoading
from mmtl.evaluation.confusion_matrix import classes_without_iou


@pytest.fixture
def config(tmp_path):
    tiny.write_data(tmp_path)
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "run"), f"hooks_{tmp_path.name}"
    runtime = Config.fromfile(ROOT / "configs/_base_/segment_runtime.py")
    cfg.default_hooks, cfg.visualizer = runtime.default_hooks, runtime.visualizer
    cfg.visualizer.name = cfg.experiment_name  # visualizers of the same name are the same object
    cfg.default_hooks.visualization.interval = 2
    return cfg


class NeverPredictLastClass(Hook):
    """Keep a model from predicting its last class."""

    def before_train(self, runner):
        runner.model.decode_head.conv_seg.bias.data[-1] = -1e4


def test_training_writes_overlays_and_confusion_matrices(config, tmp_path):
    runner = Runner.from_cfg(config)
    runner.register_hook(NeverPredictLastClass())
    runner.train()
    names = {path.name: path for path in tmp_path.glob("run/*/vis_data/vis_image/*.png")}
    assert set(names) == {"confusion_matrix_2.png", "val_0.png_2.png", "val_2.png_2.png"}
    drawn = cv2.imread(str(names["val_0.png_2.png"]))
    assert drawn.shape[0] > 6 * 40 and drawn.shape[1] > 3 * 6 * 56  # three images, enlarged
    log = next(tmp_path.glob("run/*/*.log")).read_text()
    assert "Largest confusions" in log
    zero = re.search(r"(\d) of (\d) classes have IoU 0", log)
    assert zero and zero[0] in result_of(tmp_path / "run")


def test_classes_that_are_never_hit_have_iou_0_and_absent_ones_none():
    assert classes_without_iou(np.array([[3, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])) == (1, 2)
    assert classes_without_iou(np.array([[3, 0], [2, 5]])) == (0, 2)


def test_testing_writes_a_confusion_matrix_the_worst_images_and_others_only_if_asked_for(config, tmp_path):
    config.default_hooks.worst_images = dict(type="mmtl.WorstImagesHook", count=2)
    Runner.from_cfg(config).test()
    drawn = tmp_path.glob("run/*/vis_data/vis_image/*")
    assert [path.name for path in drawn] == ["confusion_matrix_test_0.png"]
    (folder,) = tmp_path.glob("run/*/worst_images")
    rows = (folder / "worst_images.csv").read_text().splitlines()
    assert rows[0] == "image,mean IoU" and len(rows) == 3 and len(list(folder.glob("00?_?.png"))) == 2
    ious = [float(row.rsplit(",")[-1]) for row in rows[1:]]
    assert ious == sorted(ious)


def test_a_test_draws_every_image_into_the_folder_that_it_is_given(config, tmp_path):
    config.visualizer.update(save_dir=str(tmp_path / "shown"), name="shown" + tmp_path.name)
    Runner.from_cfg(config).test()
    names = {path.name for path in (tmp_path / "shown").rglob("test_*.png")}
    assert names == {"test_0.png_1.png", "test_1.png_2.png", "test_2.png_3.png"}


def test_confusion_matrix_counts_every_image_of_an_epoch_once_and_is_reset():
    hook, loader = ConfusionMatrixHook(), SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=("a", "b"))))
    runner = SimpleNamespace(val_dataloader=loader, test_dataloader=loader)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.tensor([[[0, 1, 255]]])))
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[1, 1, 0]]]))
    for _ in range(2):
        hook.before_val_epoch(runner)
        for index in range(3):
            hook.after_val_iter(runner, index, outputs=[sample, sample])
        assert hook.counts.tolist() == [[0, 6], [0, 6]]
        hook.after_train_epoch(runner)  # draws nothing: the counts are of the validation before it
    del sample.gt_sem_seg
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, outputs=[sample])
    assert hook.counts is None


def spoil(path, change):
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), change(labels))


def test_a_label_outside_the_classes_stops_training_naming_file_and_value(config, tmp_path):
    for path in (tmp_path / "annotations/train").iterdir():
        spoil(path, lambda labels: np.where(labels == 2, np.uint8(7), labels))
    with pytest.raises(
        ValueError, match=r"annotations/train/\d.png: labels .* 0 to 2 .* got 7 \(\d+ pixels.*check_segm"
    ):
        Runner.from_cfg(config).train()


@pytest.mark.parametrize("hw", [(20, 30), (80, 112)])
def test_an_annotation_of_another_size_stops_training_naming_both_sizes(config, tmp_path, hw):
    for path in (tmp_path / "annotations/train").iterdir():
        spoil(path, lambda labels: cv2.resize(labels, hw[::-1], interpolation=cv2.INTER_NEAREST))
    with pytest.raises(
        ValueError, match=rf"train/\d.png: size must be 40 x 56 .* got {hw[0]} x {hw[1]}\..*check_segm"
    ):
        Runner.from_cfg(config).train()


def iterations_trained(config):
    runner = Runner.from_cfg(config)
    runner.train()
    return runner.iter


def test_a_fault_inside_wrapped_datasets_is_reported(config, tmp_path):
    for path in (tmp_path / "annotations/train").iterdir():
        spoil(path, lambda labels: np.repeat(labels, 2, axis=0))
    plain = config.train_dataloader.dataset
    repeated = dict(type="RepeatDataset", times=2, dataset=plain)
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[repeated, plain])
    with pytest.raises(ValueError, match=r"size must be 40 x 56 .* got 80 x 56"):
        Runner.from_cfg(config).train()


@pytest.mark.parametrize("hw", [(1, 1), (1, 9), (9, 1)])
def test_images_of_one_row_or_column_train(config, tmp_path, hw):
    for path in (tmp_path / "images/train").iterdir():
        spoil(path, lambda image: np.zeros((*hw, 3), np.uint8))
        spoil(tmp_path / "annotations/train" / path.name, lambda labels: np.zeros(hw, np.uint8))
    assert iterations_trained(config) == 2


def with_views(config):
    load, resize, annotations, pack = config.test_dataloader.dataset.pipeline
    flips = [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)]
    views = dict(type="TestTimeAug", transforms=[[resize], flips, [annotations], [pack]])
    config.test_dataloader.dataset.pipeline = [load, views]
    config.model = dict(type="SegTTAModel", module=config.model)
    return Runner.from_cfg(config).test


EVALUATIONS = {
    "validation in training": lambda config: Runner.from_cfg(config).train,
    "test": lambda config: Runner.from_cfg(config).test,
    "test with views": with_views,
}


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
def test_a_label_outside_the_classes_stops_evaluation(config, tmp_path, evaluate):
    for path in (tmp_path / "annotations/val").iterdir():
        spoil(path, lambda labels: np.where(labels == 2, np.uint8(7), labels))
    with pytest.raises(
        ValueError, match=r"annotations/val/\d.png: labels .* 0 to 2 .* got 7 \(\d+ pixels.*check_segm"
    ):
        evaluate(config)()


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
@pytest.mark.parametrize("hw", [(20, 30), (80, 112)])
def test_an_annotation_of_another_size_stops_evaluation(config, tmp_path, evaluate, hw):
    for path in (tmp_path / "annotations/val").iterdir():
        spoil(path, lambda labels: cv2.resize(labels, hw[::-1], interpolation=cv2.INTER_NEAREST))
    with pytest.raises(ValueError, match=rf"val/\d.png: size must be 40 x 56 .* got {hw[0]} x {hw[1]}\..*check_segm"):
        evaluate(config)()


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
@pytest.mark.parametrize("hw", [(1, 1), (1, 9), (9, 1)])
def test_images_of_one_row_or_column_are_evaluated(config, tmp_path, evaluate, hw):
    for path in (tmp_path / "images/val").iterdir():
        spoil(path, lambda image: np.zeros((*hw, 3), np.uint8))
        spoil(tmp_path / "annotations/val" / path.name, lambda labels: np.zeros(hw, np.uint8))
    run = evaluate(config)
    run()
    assert any(key.endswith("/mIoU") for key in run.__self__.message_hub.log_scalars)


def test_testing_without_annotations_writes_predictions(config, tmp_path):
    dataset = config.test_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step.type != "LoadAnnotations"]
    config.test_evaluator = dict(type="IoUMetric", format_only=True, output_dir=config.work_dir)
    Runner.from_cfg(config).test()
    assert len([path for path in (tmp_path / "run").iterdir() if path.suffix == ".png"]) == 3


def test_repeated_validation_wraps_the_loading_once(config):
    config.train_cfg.val_interval = 1
    runner = Runner.from_cfg(config)
    runner.train()
    checked = [step for step in runner.val_dataloader.dataset.pipeline.transforms if isinstance(step, CheckedLoading)]
    assert [type(step.load) for step in checked] == [LoadAnnotations]


def spoiled_files(folder, how):
    for path in folder.iterdir():
        if how == "color":
            spoil(path, lambda labels: np.dstack([labels] * 3))
        elif how == "16 bits":  # whose lower 8 are the original labels
            spoil(path, lambda labels: labels.astype(np.uint16) + 256)
        elif how == "truncated":
            path.write_bytes(path.read_bytes()[:60])
        else:
            path.unlink()


FAULTS = {
    "color": "one channel of class indices, got RGB",
    "16 bits": "values up to 258",
    "truncated": "cannot be read: .*trunc",
    "missing": "No such file",
}


@pytest.mark.parametrize("how", FAULTS)
def test_an_unusable_annotation_stops_training_naming_the_file(config, tmp_path, how):
    spoiled_files(tmp_path / "annotations/train", how)
    with pytest.raises(ValueError, match=rf"annotations/train/\d.png: .*{FAULTS[how]}.*check_segm"):
        Runner.from_cfg(config).train()


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
def test_an_unusable_annotation_stops_evaluation_naming_the_file(config, tmp_path, evaluate, how):
    spoiled_files(tmp_path / "annotations/val", how)
    with pytest.raises(ValueError, match=rf"annotations/val/\d.png: .*{FAULTS[how]}.*check_segm"):
        evaluate(config)()


def test_ignored_labels_train(config, tmp_path):
    for path in (tmp_path / "annotations/train").iterdir():
        spoil(path, lambda labels: np.where(labels == 2, np.uint8(255), labels))
    assert iterations_trained(config) == 2
