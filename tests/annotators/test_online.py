"""An annotator in the training step: its labels are those of stored maps, and nothing else of the run changes."""

import copy
import warnings

import mmcv
import numpy as np
import pytest
import timm
import torch
from helpers.online_annotators import load_batch, student, write_cnn
from helpers.score_map_makers import write_images
from helpers.two_ranks import on_two_ranks
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from mmtl.annotators.annotator import Inference
from mmtl.annotators.generate import Options
from mmtl.annotators.load import load_annotator
from mmtl.annotators.make_store import make_store, prepare_job
from mmtl.annotators.online import OnlineAnnotator, resize
from mmtl.annotators.work_queue import LocalQueue
from mmtl.engine.hooks.scaled_ema import ForeachEMA
from mmtl.models.token_labels import token_targets
from mmtl.utils.augment_draws import Operation, make_draw

ERASE = dict(type="mmtl.RandomErasing", erase_prob=1.0, mode="rand", mask_labels=True, on_device=True)
FLIP = dict(type="mmtl.RandomFlip", prob=1.0, direction="horizontal", on_device=True)


@pytest.fixture
def paths(tmp_path):
    write_images(tmp_path / "images", 2, size_hw=(32, 32))
    return sorted((tmp_path / "images").rglob("*.png"))


@pytest.fixture
def cnn(tmp_path):
    return dict(model=write_cnn(tmp_path), checkpoint="random", dtype="float32")


def write_sure_vit(folder):
    """Write random weights of timm's test_vit with 10 classes, whose most probable class has a large probability."""
    torch.manual_seed(0)
    weights = timm.create_model("test_vit", num_classes=10).state_dict()
    weights["head.weight"] *= 100
    torch.save(weights, folder / "vit.pth")
    return str(folder / "vit.pth")


def targets_of(model, batch):
    np.random.seed(0)
    with torch.no_grad():
        return model.data_preprocessor(batch, training=True)


@pytest.mark.parametrize(("kind", "tail"), [("cnn", "probability"), ("vit", "probability"), ("cnn", "zero_logit")])
@pytest.mark.parametrize("topk", [None, 2])
def test_labels_of_full_images_are_those_of_stored_maps(kind, tail, topk, paths, cnn, tmp_path):
    if kind == "vit":
        cnn = dict(cnn, model="timm/test_vit", checkpoint=write_sure_vit(tmp_path), input_size=32)  # 2 x 2 cells
    classes = 3 if kind == "cnn" else 10
    inference = Inference()
    input_hw = (32, 32) if kind == "vit" else None
    annotator = load_annotator(cnn["model"], cnn["checkpoint"], "cpu", inference, input_hw)
    options = Options(topk=topk or classes, workers=0, input_hw=input_hw)
    make_store(prepare_job(annotator, tmp_path / "images", tmp_path / "store", options), LocalQueue())
    load = dict(type="mmtl.LoadScoreMap", store=str(tmp_path / "store"), image_root=str(tmp_path / "images"))
    cfg = dict(tail=tail, smoothing=0.1, class_target="map")
    stored = targets_of(student(None, classes, **cfg), load_batch([load], paths))["targets"]
    online = targets_of(student(dict(cnn, topk=topk), classes, **cfg), load_batch([], paths))["targets"]
    for part in ("patch_tokens", "class_token"):
        found, expected = getattr(online, part).dense(), getattr(stored, part).dense()
        assert (found - expected).abs().max() < 1e-4
    top1 = stored.patch_tokens.dense().amax(-1).mean()
    assert top1 > (0.5 if kind == "vit" else 0.4)  # large compared with the tolerance
    assert online.patch_tokens.dense().std(dim=(0, 1)).max() > 1e-6


def test_the_annotator_sees_flips_and_warps_but_no_colors_and_no_erasing(paths, cnn):
    """With CutMix's and erasing's labels as of stored maps, as both come after the labels."""
    model = student(dict(cnn), min_confidence=0.0)
    seen = []
    annotate = model.data_preprocessor.load_annotator()
    model.data_preprocessor._annotator = lambda images: seen.append(images.clone()) or annotate(images)
    batch = load_batch([FLIP, ERASE], paths)
    invert = torch.from_numpy(make_draw(Operation.INVERT)).expand(len(paths), 1, -1)
    batch["augment"] = torch.cat((invert, batch["augment"]), dim=1)
    output = targets_of(model, batch)
    assert torch.equal(seen[0], batch["inputs"].flip(3))
    maps = annotate(batch["inputs"].flip(3))
    expected = token_targets(**maps, grid_hw=(8, 8), num_classes=3)
    counted = output["targets"].patch_tokens.row_weights
    assert 0 < counted.sum() < counted.numel()
    torch.testing.assert_close(output["targets"].patch_tokens.dense(), expected.weighted(counted).dense())


def test_padding_is_outside_the_image_as_with_a_stored_map(paths, cnn):
    turn = dict(type="mmtl.Rotate", angle=45.0, prob=1.0, random_negative_prob=0.0)
    batch = load_batch([turn], paths)
    found = targets_of(student(cnn, outside="ignore"), batch)["targets"].patch_tokens.row_weights
    corners = found.view(-1, 8, 8)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any() and found.view(-1, 8, 8)[:, 2:6, 2:6].all()


def test_the_annotator_is_not_a_part_of_the_model(paths, cnn):
    model, plain = student(cnn), student(None)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    annotate = model.data_preprocessor.load_annotator()
    assert torch.equal(torch.get_rng_state(), state)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert len(list(model.modules())) == len(list(plain.modules()))
    assert ForeachEMA(model).module.data_preprocessor._annotator is annotate
    assert copy.deepcopy(annotate) is annotate
    dense = annotate.annotator.dense
    assert not dense.training and not any(p.requires_grad for p in dense.parameters())


def test_training_leaves_the_annotator_as_it_is_and_reaches_the_student(paths, cnn):
    mix = dict(
        augments=[dict(type="mmtl.MixToken"), dict(type="mmtl.CutMix"), dict(type="mmpretrain.Mixup", alpha=0.8)]
    )
    model = student(dict(cnn, dtype="bfloat16"), batch_augments=mix)
    dense = model.data_preprocessor.load_annotator().annotator.dense
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    assert {value.dtype for value in dense.parameters()} == {torch.bfloat16}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 6)
    weight = model.head.token_fc.weight.detach().clone()
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16):  # as mixed precision's optimizer wrapper does
            losses = model.train_step(load_batch([FLIP], paths), wrapper)
        assert losses["loss_token"].isfinite() and losses["loss_token"] > 0
    assert not torch.equal(model.head.token_fc.weight, weight)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())


def train_rank(rank, cfg, batch):
    """Return what a rank learns from every second image, with random numbers of its own."""
    model = MMDistributedDataParallel(student(cfg), device_ids=None)
    torch.manual_seed(rank)
    train_one_step(model, {name: value[rank::2] for name, value in batch.items()})
    return model.state_dict()


def train_one_step(model, batch):
    (model.module if hasattr(model, "module") else model).backbone.eval()  # batch norm sees the images of a rank only
    model.train_step(batch, OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0)))


def test_two_ranks_label_their_own_images_and_learn_what_one_learns(paths, cnn, tmp_path, processes):
    """Labels are neither sent nor do they depend on a rank's random numbers, not even for random weights."""
    cfg, batch = dict(cnn, topk=2), load_batch([], paths)
    single = student(cfg)
    before = single.head.token_fc.weight.detach().clone()
    train_one_step(single, batch)
    assert (single.head.token_fc.weight - before).abs().max() > 1e-3
    for weights in on_two_ranks(processes, tmp_path, train_rank, cfg, batch):
        found = {name.removeprefix("module."): value for name, value in weights.items()}
        torch.testing.assert_close(found, dict(single.state_dict()), rtol=1e-5, atol=1e-6)


def test_its_precision_is_its_own_under_mixed_precision(paths, cnn):
    annotate, batch = OnlineAnnotator(**cnn), load_batch([], paths)["inputs"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = annotate(batch)["scores"]
    assert torch.equal(mixed, annotate(batch)["scores"])
    half = OnlineAnnotator(**dict(cnn, dtype="bfloat16"))(batch)["scores"]
    assert 0 < (half - mixed).abs().max() < 0.05 * mixed.abs().max()


def test_gradients_of_accumulated_parts_are_those_of_one_batch(paths, cnn):
    model, batch = student(dict(cnn, topk=2)), load_batch([], paths)
    model.backbone.eval()  # batch norm of the stem sees each part by itself

    def gradient(parts):
        model.zero_grad()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0), accumulative_counts=len(parts))
        wrapper.initialize_count_status(model, 0, len(parts))
        for index in parts:
            with wrapper.optim_context(model):
                data = model.data_preprocessor({name: value[index] for name, value in batch.items()}, True)
                loss, _ = model.parse_losses(model(**data, mode="loss"))
            wrapper.scale_loss(loss).backward()
        return model.head.token_fc.weight.grad.clone()

    torch.testing.assert_close(gradient([slice(0, 3), slice(3, 6)]), gradient([slice(None)]))


def test_views_are_resized_as_files_are(paths, cnn):
    """Antialiased as by Pillow, which rounds between its two passes, and as OpenCV does without it."""
    image = torch.randint(0, 256, (1, 3, 40, 48), dtype=torch.uint8)
    image = F.interpolate(image.float(), scale_factor=2, mode="bicubic").clamp(0, 255).to(torch.uint8)
    annotator = load_annotator(cnn["model"], "random", "cpu", Inference())
    for interpolation, backend in (("bicubic", "pillow"), ("bilinear", "cv2")):
        annotator.interpolation, annotator.backend = interpolation, backend
        array = image[0].permute(1, 2, 0).numpy()
        file = mmcv.imresize(array, (32, 36), interpolation=interpolation, backend=backend)
        found = resize(image, annotator, (36, 32))[0].permute(1, 2, 0)
        difference = (found - torch.from_numpy(file)).abs()
        assert difference.max() <= 3 and difference.mean() < 0.5, (interpolation, backend)


def test_values_above_255_of_other_images_are_resized_without_rounding(paths, cnn):
    annotator = load_annotator(cnn["model"], "random", "cpu", Inference())
    values = torch.linspace(-900, 9000.5, 64).view(1, 1, 8, 8).expand(1, 5, 8, 8)
    expected = F.interpolate(values, (4, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(values, annotator, (4, 4)), expected)


def test_a_store_next_to_an_annotator_is_not_used_and_said_once(paths, cnn):
    model, batch = student(cnn), load_batch([], paths)
    expected = targets_of(model, batch)["targets"].patch_tokens.dense()
    store = dict(scores=torch.full((6, 1, 1, 1), 9.0), classes=torch.zeros(6, 1, 1, 1, dtype=torch.long),
                 view_affine=torch.eye(2, 3).expand(6, 2, 3), has_map=torch.zeros(6, dtype=torch.bool))  # fmt: skip
    with pytest.warns(UserWarning, match="score maps of a store are not used"):
        found = targets_of(model, batch | store)["targets"].patch_tokens.dense()
    assert torch.equal(found, expected)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # as after a library has changed the filters
        for _ in range(2):
            targets_of(model, batch | store)
    assert not caught


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(checkpoint=None), "must have a checkpoint, a file of weights, or 'random'"),
        (dict(dtype="int8"), "dtype must be one of float32, bfloat16, float16, got 'int8'"),
        (dict(input_size=0), r"input_size must be S or \(H, W\) in pixels, got 0"),
        (dict(input_size=(32, 32, 3)), r"input_size must be S or \(H, W\) in pixels, got \(32, 32, 3\)"),
        (dict(input_size=32, topk=4), "topk must be from 1 to 3, its classes, got 4"),
        (dict(input_size=32, topk=0), "topk must be from 1 to 3, its classes, got 0"),
        (dict(input_size=32, topk="2"), "topk must be from 1 to 3, its classes, got '2'"),
        (dict(crops=0), "crops must be at least 1, got 0"),
        (dict(input_size=32, num_classes=10), "must have the 10 classes of model.head, got 3. .*--classes"),
        (
            dict(model="timm/test_vit", input_size=50),
            "test_vit cannot be converted to dense prediction: at input size 50",
        ),
        (dict(model="timm/no_such_model"), "timm has no model 'no_such_model'"),
        (dict(model="none.py"), "none.py"),
    ],
)
def test_what_cannot_work_is_refused(options, message, cnn):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        OnlineAnnotator(**{**cnn, **options})


def test_options_without_a_model_are_refused():
    for annotator in ("timm/test_vit", dict(checkpoint="random")):
        with pytest.raises(ValueError, match=r"model.annotator must be options with a model, .*, got .*\w"):
            student(annotator)


def test_an_unknown_option_is_named_with_the_one_that_is_meant(cnn):
    """Guards: Python's TypeError with the address of a hook."""
    model = student(cnn | dict(tokp=3, device="cpu"))
    with pytest.raises(
        ValueError, match=r"model.annotator must have options of .*topk.*, got tokp, device. Did you .* topk\?"
    ):
        model.data_preprocessor.load_annotator()


def test_an_annotator_of_other_channels_is_refused_and_gray_images_get_its_channels(paths, cnn):
    images = load_batch([], paths)["inputs"]
    gray, annotate = images[:, :1], OnlineAnnotator(**cnn)
    assert torch.equal(annotate(gray)["scores"], annotate(gray.repeat(1, 3, 1, 1))["scores"])
    with pytest.raises(ValueError, match=r"model.annotator \(.*cnn.py\) must take .* 4 channels, got one for 3"):
        annotate(torch.cat((images, gray), 1))


def test_the_layer_that_keeps_a_model_from_dense_prediction_is_named(tmp_path, cnn):
    text = (tmp_path / "cnn.py").read_text()
    neck = text.replace('type="GlobalAveragePooling"', 'type="LinearNeck", in_channels=32, out_channels=32')
    (tmp_path / "linear.py").write_text(neck)
    with pytest.raises(ValueError, match="LinearNeck cannot be converted to dense prediction"):
        OnlineAnnotator(**dict(cnn, model=str(tmp_path / "linear.py")))


def test_a_part_of_the_classes_is_renumbered_as_in_a_store_of_them(paths, cnn, tmp_path):
    (tmp_path / "classes.txt").write_text("2\n0\n")
    batch = load_batch([], paths)["inputs"]
    both = OnlineAnnotator(**cnn)(batch)["scores"]
    found = OnlineAnnotator(**cnn, classes=str(tmp_path / "classes.txt"), num_classes=2)(batch)
    assert torch.equal(found["scores"], both[..., [2, 0]])
    torch.testing.assert_close(found["log_norm"], both[..., [2, 0]].float().logsumexp(-1).half())


def test_a_compiled_annotator_gives_the_same_maps_and_compiles_once(paths, cnn):
    torch._dynamo.reset()
    backend = CompileCounterWithBackend("aot_eager")
    compiled = OnlineAnnotator(**cnn, channels_last=True, compile=dict(backend=backend))
    batch = load_batch([], paths)["inputs"]
    for _ in range(2):
        maps = compiled(batch)
    torch.testing.assert_close(maps["scores"], OnlineAnnotator(**cnn)(batch)["scores"], atol=1e-3, rtol=1e-3)
    assert backend.frame_count == 1


def test_a_missing_checkpoint_is_not_replaced_by_random_weights(cnn, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.pth"):
        OnlineAnnotator(**dict(cnn, checkpoint=str(tmp_path / "missing.pth")))


def test_exhausted_memory_names_what_to_lower(cnn):
    annotate = OnlineAnnotator(**dict(cnn, input_size=32))

    def exhausted(images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    annotate.annotator.normalize = exhausted
    with pytest.raises(RuntimeError, match="2 images of 32 x 32 pixels: CUDA .*Lower model.annotator.input_size"):
        annotate(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    annotate.is_ready = False
    with pytest.raises(RuntimeError, match="1 images of 32 x 32 pixels: CUDA .*Lower model.annotator.input_size"):
        annotate(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
