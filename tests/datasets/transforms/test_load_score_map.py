import pickle

import numpy as np
import pytest
from helpers.ramp_samples import cell_score_map
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import DataLoader

from mmtl.datasets.transforms.load_score_map import LoadScoreMap, score_map_key
from mmtl.score_maps import ScoreMapWriter

MAPS = {"a/b.png": cell_score_map((3, 4))}


class Store(dict):
    num_classes = 12


def load(**arguments):
    return TRANSFORMS.build(dict(type="mmtl.LoadScoreMap", **dict(dict(store=MAPS, image_root="images"), **arguments)))


def test_map_is_found_by_its_image():
    results = load()({"img_path": "images/a/b.png"})
    np.testing.assert_array_equal(results["score_map"].classes, MAPS["a/b.png"].classes)


@pytest.mark.parametrize(
    ("img_path", "image_root"),
    [
        ("images/a/b.png", "images"),
        ("./images/a/b.png", "images/"),
        ("x/../images/a/b.png", "./images"),
        ("/data/images/a/b.png", "/data/images/"),
    ],
)
def test_convention_key_is_the_path_under_the_root(img_path, image_root):
    assert score_map_key(img_path, image_root) == "a/b.png"


def test_image_outside_the_root_is_named():
    with pytest.raises(ValueError, match="other/b.png: .* image_root='images'"):
        load()({"img_path": "other/b.png"})
    with pytest.raises(ValueError, match="must be below image_root"):  # a folder that merely begins alike
        load()({"img_path": "images2/a/b.png"})


def test_missing_map_names_image_and_remedy():
    with pytest.raises(ValueError, match="a/c.png: score map store 'dict' has no map.*missing='label_only'"):
        load()({"img_path": "images/a/c.png"})


def test_missing_map_may_train_on_its_label():
    assert load(missing="label_only")({"img_path": "images/a/c.png"}) == {"img_path": "images/a/c.png"}


def test_no_store_leaves_every_sample_as_it_is():
    assert load(store=None)({"img": 1}) == {"img": 1}


def test_missing_store_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone' does not exist. Make it with.*score_maps=None"):
        load(store=str(tmp_path / "gone"))({"img_path": "images/a/b.png"})


def test_has_map_answers_for_any_path():
    assert load().has_map("images/a/b.png")
    assert not load().has_map("images/a/c.png") and not load().has_map("other/a/b.png")


def test_store_of_another_class_count_is_refused():
    with pytest.raises(ValueError, match="must have 10 classes, got 12"):
        load(store=Store(MAPS), num_classes=10)({"img_path": "images/a/b.png"})
    assert "score_map" in load(store=Store(MAPS), num_classes=12)({"img_path": "images/a/b.png"})


def test_sample_without_a_path_is_refused():
    with pytest.raises(ValueError, match="img_path"):
        load()({"img": np.zeros((2, 2, 3))})


def test_unknown_missing_mode_is_refused():
    with pytest.raises(ValueError, match="'label_only', got 'skip'"):
        load(missing="skip")


def test_store_is_opened_once_and_only_when_used(tmp_path, monkeypatch):
    opened = []

    def open_store(path):
        opened.append(path)
        return MAPS

    monkeypatch.setattr("mmtl.datasets.transforms.load_score_map.ScoreMapStore", open_store)
    transform = load(store=str(tmp_path))
    transform = pickle.loads(pickle.dumps(transform))  # as it goes to a spawned worker
    assert not opened
    transform({"img_path": "images/a/b.png"})
    transform({"img_path": "images/a/b.png"})
    assert opened == [[tmp_path]]


def test_real_store_serves_data_loader_workers(tmp_path):
    with ScoreMapWriter(tmp_path / "store", num_classes=12, grid_hw=(3, 4), topk=1) as writer:
        writer.add("a/b.png", MAPS["a/b.png"])
    transform = load(store=str(tmp_path / "store"), num_classes=12)
    samples = [{"img_path": "images/a/b.png"}] * 4
    loader = DataLoader(MappedSamples(samples, transform), num_workers=2, collate_fn=list)
    for (results,) in loader:
        np.testing.assert_array_equal(results["score_map"].classes, MAPS["a/b.png"].classes)
    with pytest.raises(ValueError, match="a/c.png: score map store .* has no map"):
        transform({"img_path": "images/a/c.png"})


def test_several_folders_are_read_as_one_store(tmp_path):
    for name in ("a", "b"):
        with ScoreMapWriter(tmp_path / name, num_classes=12, grid_hw=(3, 4), topk=1) as writer:
            writer.add(f"{name}/b.png", MAPS["a/b.png"])
    transform = load(store=[str(tmp_path / "a"), str(tmp_path / "b")])
    for name in ("a", "b"):
        assert "score_map" in transform({"img_path": f"images/{name}/b.png"})
    with pytest.raises(FileNotFoundError, match="gone' does not exist"):
        load(store=[str(tmp_path / "a"), str(tmp_path / "gone")]).has_map("images/a/b.png")


class MappedSamples(list):
    def __init__(self, samples, transform):
        super().__init__(samples)
        self.transform = transform

    def __getitem__(self, index):
        return self.transform(dict(super().__getitem__(index)))


def test_without_a_root_the_keys_follow_the_folder_of_the_images():
    maps = {"cat/0.png": "map of cat/0.png", "dog/1.png": "map of dog/1.png"}
    for root in ("/data/one/train", "two"):
        load = LoadScoreMap(maps)
        assert load.transform(dict(img_path=f"{root}/cat/0.png"))["score_map"] == "map of cat/0.png"
        assert load.has_map(f"{root}/dog/1.png") and not load.has_map(f"{root}/dog/2.png")
        assert not load.has_map("/elsewhere/dog/1.png")  # the root is that of the first image
        with pytest.raises(ValueError, match="dog/2.png: .* has no map"):
            load.transform(dict(img_path=f"{root}/dog/2.png"))


def test_without_a_root_the_longest_key_counts_and_an_image_without_a_map_sets_none():
    load = LoadScoreMap({"0.png": "short", "cat/0.png": "long"})
    assert not load.has_map("images/other.png") and load.image_root is None
    assert load.transform(dict(img_path="images/cat/0.png"))["score_map"] == "long"
