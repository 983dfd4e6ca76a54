"""A store has the maps of its images, made with its options."""

import json
import shutil
from argparse import ArgumentParser
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.made_stores import OPTIONS, make
from helpers.score_map_makers import CLASSES, tiny_annotator, tiny_classifier
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtl.annotators.generate import Options, Plan, unit_size
from mmtl.annotators.make_store import annotate_folder, prepare_job, summary
from mmtl.annotators.work_queue import LocalQueue
from mmtl.cli.make_score_maps import parse_args
from mmtl.score_maps import ScoreMapStore
from mmtl.score_maps.stats import cell_probabilities
from mmtl.utils.image_files import list_images


def write_classes(tmp_path, text):
    (tmp_path / "classes.txt").write_text(text)
    return tmp_path / "classes.txt"


def test_every_image_gets_the_map_of_its_dense_logits(images, tmp_path):
    make(images, tmp_path / "s")
    store, annotator = ScoreMapStore(tmp_path / "s"), tiny_annotator()
    assert list(store) == list_images(images) == sorted(f"{c}/{n}.png" for c in CLASSES for n in range(5))
    assert store.grid_hw == (8, 8) and store.verify() == []
    resized = annotator.resize((32, 32))(images / "bee/3.png")
    logits = annotator.logits(torch.from_numpy(resized).permute(2, 0, 1)[None])[0]
    top = logits.topk(2, dim=-1)
    np.testing.assert_array_equal(store["bee/3.png"].classes, top.indices)
    np.testing.assert_allclose(store["bee/3.png"].scores, top.values, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(store["bee/3.png"].log_norm, logits.logsumexp(-1), rtol=2e-3, atol=1e-3)


def test_only_the_images_of_a_list_get_maps_and_it_has_their_classes(images, tmp_path):
    (images / "no images").mkdir()
    (tmp_path / "list.txt").write_text("".join(f"{key} 1\n" for key in ("cat/2.png", "ant/0.png")))
    job = make(images, tmp_path / "s", replace(OPTIONS, list_file=tmp_path / "list.txt"))
    assert list(ScoreMapStore(tmp_path / "s")) == ["ant/0.png", "cat/2.png"] and job.labels.tolist() == [1, 1]


def test_the_pooled_maps_have_the_classifiers_own_accuracy(images, tmp_path):
    make(images, tmp_path / "s")
    annotator, classifier = tiny_annotator(), tiny_classifier()
    hits = 0
    for key in list_images(images):
        resized = annotator.resize((32, 32))(images / key)
        pixels = annotator.normalize(torch.from_numpy(resized).permute(2, 0, 1)[None])
        hits += int(classifier(pixels).argmax()) == CLASSES.index(key.split("/")[0])
    totals = summary(tmp_path / "s")
    assert (totals["top1"], totals["labelled"], totals["images"]) == (hits, 15, 15)
    assert totals["top5"] == 15  # of three classes


def test_the_accuracy_counts_the_folders_whose_names_the_annotator_knows(images, tmp_path):
    shutil.rmtree(images / "ant")
    (images / "bee").rename(images / "wasp")
    annotator = tiny_annotator()
    annotator.description["class_names"] = ["ant", "cat", "bee"]
    job = make(images, tmp_path / "s", annotator=annotator)
    assert job.labels.tolist() == [1] * 5 + [-1] * 5 and summary(tmp_path / "s")["labelled"] == 5


@settings(deadline=None)
@given(images=st.integers(1, 3_000_000), record=st.integers(8, 2**20), limit=st.integers(2**20, 2**28))
def test_units_cover_every_image_once_and_fit_a_shard(images, record, limit):
    size = unit_size(images, record, limit)
    plan = Plan(range(images), size)
    assert size * record <= max(limit, record)
    first, last = plan.unit(0), plan.unit(plan.num_units - 1)
    assert first.start == 0 and last.stop == images and len(last) > 0
    assert all(plan.unit(n).stop == plan.unit(n + 1).start for n in range(min(plan.num_units - 1, 20)))


def test_a_few_undecodable_images_are_listed(images, tmp_path):
    (images / "bee" / "2.png").write_bytes(b"not an image")
    (images / "cat" / "0.png").write_bytes(b"")
    job = make(images, tmp_path / "s", Options(**(vars(OPTIONS) | {"max_undecodable": 0.2})))
    store = ScoreMapStore(tmp_path / "s")
    assert (tmp_path / "s" / "undecodable.txt").read_text() == "bee/2.png\ncat/0.png\n"
    assert store.undecodable == ["bee/2.png", "cat/0.png"] and len(store) == 13
    assert job.allowed_undecodable == 3 and store.verify() == []


def test_too_many_undecodable_images_stop_the_run_and_leave_nothing(images, tmp_path):
    (images / "ant" / "0.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"ant/0.png cannot be decoded"):
        make(images, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_k_above_the_class_count_and_impossible_input_sizes_are_errors(images, tmp_path):
    with pytest.raises(ValueError, match="num_classes=3, got topk=4"):
        prepare_job(tiny_annotator(), images, tmp_path / "s", Options(topk=4))
    annotator = tiny_annotator()
    annotator.dense.backbone = torch.nn.Conv2d(3, 32, 64)
    with pytest.raises(ValueError, match="cannot be converted to dense prediction: at input size 32 x 32"):
        prepare_job(annotator, images, tmp_path / "s", OPTIONS)


def test_by_default_five_classes_are_listed_or_all_of_fewer(images, tmp_path):
    """Guards: fewer than five classes ended with an error about topk, which nobody had set."""
    arguments = parse_args(ArgumentParser(), ["timm/NAME", "images", "out"])
    classes = write_classes(tmp_path, "ant\ncat\n")
    for options, topk in ((Options(topk=arguments.topk), 3), (Options(classes=classes), 2)):
        assert prepare_job(tiny_annotator(), images, tmp_path / "s", options).layout.topk == topk
    with pytest.raises(ValueError, match="num_classes=2, got topk=3"):
        prepare_job(tiny_annotator(), images, tmp_path / "s", Options(topk=3, classes=classes))


def test_the_manifest_holds_the_settings_that_resuming_compares(images, tmp_path):
    annotator = tiny_annotator(crops=2, flip=True, amp=torch.bfloat16, channels_last=True)
    job = make(images, tmp_path / "s", annotator=annotator)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["num_maps"] == 15 and manifest["annotator"] == annotator.description
    assert manifest["plan"] == job.plan.fingerprint
    assert manifest["plan"].keys() == {"images", "images_per_shard", "keys_sha256"}
    assert manifest["preprocessing"] == {
        "input_hw": [32, 32],
        "interpolation": annotator.interpolation,
        "backend": annotator.backend,
        "mean": [120.0, 110, 100],
        "std": [60.0, 60, 60],
        "to_rgb": True,
        "crops": 2,
        "flip": True,
        "amp": "bfloat16",
    }


def test_the_output_inside_the_images_is_not_an_image_folder(images, tmp_path):
    for _ in range(2):
        make(images, images / "maps")
    assert len(ScoreMapStore(images / "maps")) == 15


def test_an_annotator_without_an_input_size_takes_the_size_of_all_images_or_asks_for_one(images, tmp_path):
    """Guards: the size of the first image was taken for all."""
    annotator = tiny_annotator()
    annotator.size_hw = None
    size_hw = cv2.imread(str(images / "cat" / "4.png")).shape[:2]
    cv2.imwrite(str(images / "cat" / "4.png"), np.zeros((7, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r"tiny: its config has no Resize .*cat/4.png of 7 x 9. Give --input-size"):
        make(images, tmp_path / "s", annotator=annotator)
    (images / "cat" / "4.png").unlink()
    make(images, tmp_path / "t", annotator=annotator)
    assert ScoreMapStore(tmp_path / "t").preprocessing["input_hw"] == list(size_hw)


def test_the_annotators_accuracy_is_not_called_that_of_pooled_maps(images, tmp_path, capsys):
    """Guards: generator and stats printed two measures under one name."""
    annotate_folder(tiny_annotator(), images, tmp_path / "s", OPTIONS, LocalQueue())
    assert "The annotator's own accuracy" in (text := capsys.readouterr().out) and "pooled maps" not in text


@pytest.mark.parametrize("score_bits", [16, 8])
def test_maps_of_a_part_of_the_classes_are_the_softmax_over_the_chosen_logits(images, tmp_path, score_bits):
    options = Options(topk=2, workers=0, classes=write_classes(tmp_path, "cat\nant\n"), score_bits=score_bits)
    make(images, tmp_path / "s", options)
    store, annotator = ScoreMapStore(tmp_path / "s"), tiny_annotator()
    assert store.num_classes == 2 and store.verify() == [] and store.annotator["class_indices"] == [[2], [0]]
    score_map = store["ant/0.png"]
    image = annotator.resize((32, 32))(images / "ant/0.png")
    chosen = annotator.logits(torch.from_numpy(image).permute(2, 0, 1)[None])[0][..., [2, 0]].softmax(-1)
    found = np.zeros((8, 8, 2))
    np.put_along_axis(found, score_map.classes.astype(int), cell_probabilities(score_map, 2), -1)
    np.testing.assert_allclose(found, chosen, atol=1e-3 if score_bits == 16 else 1e-2)
    totals = summary(tmp_path / "s")
    assert totals["labelled"] == 10 and totals["top5"] == 10  # of two classes; the folder bee is not one


def test_classes_that_become_one_have_the_sum_of_their_probabilities(images, tmp_path):
    options = Options(topk=2, workers=0, classes=write_classes(tmp_path, "bee insect\ncat\nant insect\n"))
    job = make(images, tmp_path / "s", options)
    logits = tiny_annotator().logits(batch := torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8))
    expected = logits.softmax(-1)
    merged = torch.stack([expected[..., 0] + expected[..., 1], expected[..., 2]], -1)
    torch.testing.assert_close(job.annotator.logits(batch).softmax(-1), merged)
    assert ScoreMapStore(tmp_path / "s").annotator["class_names"] == ["insect", "cat"]


def test_a_store_of_other_classes_is_not_continued(images, tmp_path):
    make(images, tmp_path / "s", Options(topk=1, workers=0, classes=write_classes(tmp_path, "ant\nbee\n")))
    for text in ("bee\nant\n", "ant\ncat\n"):
        with pytest.raises(FileExistsError, match="class_indices"):
            make(images, tmp_path / "s", Options(topk=1, workers=0, classes=write_classes(tmp_path, text)))
    with pytest.raises(FileExistsError, match="num_classes"):
        make(images, tmp_path / "s", Options(topk=1, workers=0))
