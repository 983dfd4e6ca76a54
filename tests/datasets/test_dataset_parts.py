from mmengine.dataset import RepeatDataset
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from torch.utils.data import ConcatDataset, Subset

from mmtl.datasets.dataset_parts import leaf_datasets, score_map_loaders, transforms_of

LOAD = dict(type="mmtl.LoadScoreMap", store="store", image_root="images")
FLIP = dict(type="mmtl.RandomFlip", prob=0.5)


def make_dataset(folder, name, pipeline=()):
    (folder / name / "class").mkdir(parents=True)
    (folder / name / "class" / "0.png").touch()
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return DATASETS.build(dict(type="CustomDataset", data_root=str(folder / name), pipeline=list(pipeline)))


def test_leaves_are_found_inside_nested_wrappers_in_order(tmp_path):
    a, b, c, d = (make_dataset(tmp_path, name) for name in "abcd")
    nested = ConcatDataset([ConcatDataset([RepeatDataset(a, 2), b]), RepeatDataset(c, 3), d])
    assert [id(leaf) for leaf in leaf_datasets(Subset(nested, [0]))] == [id(leaf) for leaf in (a, b, c, d)]
    assert list(leaf_datasets(a)) == [a]


def test_transforms_are_those_of_the_pipeline_and_only_loaders_with_a_store_count(tmp_path):
    dataset = make_dataset(tmp_path, "a", [LOAD, FLIP, dict(LOAD, store=None)])
    assert [type(step).__name__ for step in transforms_of(dataset)] == ["LoadScoreMap", "RandomFlip", "LoadScoreMap"]
    assert score_map_loaders(dataset) == transforms_of(dataset)[:1]
    transforms_of(dataset).pop(0)
    assert score_map_loaders(dataset) == [] and len(dataset.pipeline.transforms) == 2
    assert transforms_of([1, 2]) == []
