"""LV-ViT follows its definition for any input size, freezing and checkpointing."""

import pytest
import torch
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmpretrain.models.utils import resize_pos_embed
from torch import nn

from mmtl.models import LVViT
from mmtl.models.batch_augments.mix_token import TokenMix, mix_tokens
from mmtl.models.lvvit.block import Block, add_branch

NANO = dict(embed_dims=12, num_layers=3, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)


def nano(**options):
    torch.manual_seed(0)
    return LVViT(arch=NANO, **{"img_size": 16, "patch_size": 4, **options})


def test_the_registries_of_mmpretrain_and_mmseg_find_it():
    from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
    from mmseg.registry import MODELS as MMSEG_MODELS

    for registry in (MMENGINE_MODELS, MMPRETRAIN_MODELS, MMSEG_MODELS):
        assert isinstance(registry.build(dict(type="mmtl.LVViT", arch=NANO, img_size=16)), LVViT)


def test_out_types_are_views_of_the_same_tokens():
    images = torch.randn(2, 3, 16, 24)
    (raw,) = nano().eval()(images)
    (featmap,) = nano(out_type="featmap").eval()(images)
    (cls_token,) = nano(out_type="cls_token").eval()(images)
    torch.testing.assert_close(featmap.flatten(2).transpose(1, 2), raw[:, 1:])
    torch.testing.assert_close(cls_token, raw[:, 0])
    assert featmap.shape == (2, 12, 4, 6)


def test_the_final_norm_touches_the_last_block_only():
    images = torch.randn(1, 3, 16, 16)
    normed = nano(out_indices=[0, 2]).eval()
    plain = nano(out_indices=[0, 2], final_norm=False).eval()
    plain.load_state_dict({k: v for k, v in normed.state_dict().items() if not k.startswith("norm.")})
    first, last = normed(images)
    plain_first, plain_last = plain(images)
    torch.testing.assert_close(first, plain_first)
    torch.testing.assert_close(last, normed.norm(plain_last))


def test_position_embedding_is_resized_on_the_fly_as_at_load_time():
    small, large = nano(img_size=16).eval(), nano(img_size=32).eval()
    large.load_state_dict(small.state_dict())
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(small(images), large(images))
    expected = resize_pos_embed(small.pos_embed, (4, 4), (8, 8), "bicubic", 1)
    torch.testing.assert_close(large.pos_embed, expected)


def test_a_position_embedding_of_an_unknown_grid_is_refused():
    state = dict(nano(img_size=(16, 24)).state_dict())  # as other code saves it: only weights
    with pytest.raises(ValueError, match="square grid and a class token"):
        nano().load_state_dict(state)


def test_tokens_are_mixed_before_the_position_embedding():
    model, images = nano().eval(), torch.randn(2, 3, 16, 16)
    mask = torch.arange(16) < 5
    mix = TokenMix(mask, torch.tensor([1, 0]))
    tokens = model.patch_embed(images).flatten(2).transpose(1, 2)
    expected = mix_tokens(tokens, *mix) + model.pos_embed[:, 1:]
    torch.testing.assert_close(model.embed(images, mix)[0][:, 1:], expected)


def test_a_block_divides_its_residual_branches():
    model = nano(blocks=["full", "attention", "mlp"])
    x = torch.randn(1, 5, 12)
    full, attention, mlp = model.blocks
    after = x + full.attn(full.norm1(x)) / 2
    torch.testing.assert_close(full(x), after + full.mlp(full.norm2(after)) / 2)
    torch.testing.assert_close(attention(x), x + attention.attn(attention.norm1(2 * x)) / 2)
    torch.testing.assert_close(mlp(x), x + mlp.mlp(mlp.norm2(2 * x)) / 2)


def test_attention_equals_softmax_attention():
    attention = nano(head_dims=5, qkv_bias=True).blocks[0].attn
    x = torch.randn(2, 7, 12)
    query, key, value = attention.qkv(x).view(2, 7, 3, 2, 5).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-1, -2) / 5**0.5).softmax(-1)
    torch.testing.assert_close(attention(x), attention.proj((weights @ value).transpose(1, 2).reshape(2, 7, 10)))


def gradients(model, images):
    model(images)[-1].square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("drop_path_rate", [0.0, 0.5, 0.999999])  # the last drops every image
@pytest.mark.parametrize("num_images", [1, 8])
def test_recomputing_blocks_changes_no_gradient(num_images, drop_path_rate, dtype):
    images = torch.randn(num_images, 3, 16, 16)
    grads = []
    for with_cp in (False, True):
        model = nano(with_cp=with_cp, drop_path_rate=[drop_path_rate] * 3).train()
        torch.manual_seed(1)  # blocks that are run twice must drop the same images twice
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            grads.append(gradients(model, images))
    assert not [name for name, grad in grads[0].items() if grad is None]
    assert any(g.any() for name, g in grads[0].items() if "fc1" in name) == (drop_path_rate < 0.9)
    torch.testing.assert_close(grads[1], grads[0])


@pytest.mark.parametrize(("frozen_stages", "first_free"), [(-1, None), (0, "blocks.0"), (2, "blocks.2")])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(frozen_stages, first_free):
    model = nano(frozen_stages=frozen_stages).train()
    before = model.patch_embed.bn1.running_mean.clone()
    grads = gradients(model, torch.randn(2, 3, 16, 16))
    free = [name for name, grad in grads.items() if grad is not None]
    frozen_prefixes = () if first_free is None else ("cls_token", "pos_embed", "patch_embed")
    frozen_prefixes += tuple(f"blocks.{i}" for i in range(max(frozen_stages, 0)))
    assert not any(name.startswith(frozen_prefixes) for name in free if frozen_prefixes)
    assert len(free) + sum(name.startswith(frozen_prefixes) for name in grads if frozen_prefixes) == len(grads)
    assert torch.equal(before, model.patch_embed.bn1.running_mean) == (frozen_stages >= 0)


def test_norm_eval_keeps_the_statistics_but_trains_the_weights():
    model = nano(norm_eval=True).train()
    grads = gradients(model, torch.randn(2, 3, 16, 16))
    assert model.patch_embed.bn1.num_batches_tracked == 0
    assert grads["patch_embed.bn1.weight"] is not None


def test_drop_path_grows_linearly_or_follows_the_list():
    rates = [block.drop_path_rate for block in nano(drop_path_rate=0.2).blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])
    assert [block.drop_path_rate for block in nano(drop_path_rate=[0.3] * 3).blocks] == [0.3] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("num_images", "drop_rate"), [(40, 0.1), (40, 0.33), (40, 0.999999), (1, 0.3), (1, 0.999999)])
@pytest.mark.parametrize("kind", ["full", "attention", "mlp"])
def test_drop_path_adds_the_scaled_branch_to_the_kept_images_only(kind, num_images, drop_rate, dtype):
    block = small_block(kind, drop_rate)
    plain = small_block(kind, 0.0)
    plain.load_state_dict(block.state_dict())
    x = torch.randn(num_images, 5, 12, requires_grad=True)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        torch.manual_seed(4)
        y = block(x)
        torch.manual_seed(4)
        expected = x
        for norm, branch in (("norm1", "attn"), ("norm2", "mlp")):
            if hasattr(plain, norm):
                kept = kept_images(num_images, drop_rate).float().view(-1, 1, 1)
                branched = getattr(plain, branch)(getattr(plain, norm)(expected * plain.norm_scale))
                expected = expected + kept * branched / (1 - drop_rate) / 2
    direction = torch.randn_like(y)
    found = (y, *torch.autograd.grad(y, (x, *block.parameters()), direction))
    reference = (expected, *torch.autograd.grad(expected, (x, *plain.parameters()), direction))
    for value, other in zip(found, reference, strict=True):
        assert (value - other).norm() <= (1e-5 if dtype == torch.float32 else 2e-2) * other.norm()


def small_block(kind, drop_path_rate):
    sizes = dict(embed_dims=12, num_heads=2, feedforward_channels=24, head_dims=None, qkv_bias=True)
    return Block(
        kind=kind, residual_divisor=2.0, drop_path_rate=drop_path_rate, norm_cfg=dict(type="LN"), **sizes
    ).train()


def kept_images(num_images, drop_rate):
    """The images that one branch keeps, bool [B], found with a branch that gives ones."""
    zeros = torch.zeros(num_images, 1, 1)
    return add_branch(zeros, zeros, torch.ones_like, drop_rate, 1.0).flatten() > 0


@pytest.mark.parametrize("drop_rate", [0.03, 0.1, 0.25, 0.3, 0.7])
@pytest.mark.parametrize("num_images", [1, 2, 7, 32])
def test_each_image_is_kept_with_the_stated_probability_and_the_mean_is_unchanged(num_images, drop_rate):
    torch.manual_seed(0)
    x, draws = torch.zeros(num_images, 1, 1), 3000
    outputs = torch.stack(
        [add_branch(x, torch.ones_like(x), lambda part: part, drop_rate, 0.5).flatten() for _ in range(draws)]
    )
    kept = (outputs > 0).float().mean(0)
    assert (kept - (1 - drop_rate)).abs().max() < 5 * (drop_rate * (1 - drop_rate) / draws) ** 0.5
    torch.testing.assert_close(outputs.mean(0), 0.5 * kept / (1 - drop_rate))
    assert set(outputs.unique().tolist()) <= {0.0, torch.tensor(0.5 / (1 - drop_rate)).item()}


@pytest.mark.parametrize(("drop_rate", "computed"), [(0.05, 32), (0.1, 32), (0.25, 24), (0.3, 23)])
def test_above_a_rate_the_branch_is_computed_for_a_fixed_number_of_random_images(drop_rate, computed):
    torch.manual_seed(0)
    x, seen = torch.arange(32.0).view(32, 1, 1), []
    for _ in range(20):
        add_branch(x, x, lambda part: seen.append(part.flatten()) or part, drop_rate, 1.0)
    assert {len(part) for part in seen} == {computed} and all(len(part.unique()) == len(part) for part in seen)
    assert len({tuple(part.tolist()) for part in seen}) == (20 if computed < 32 else 1)


def test_initial_weights_follow_the_paper_of_vit():
    model = nano()
    model.init_weights()
    for weight in (model.pos_embed, model.blocks[0].attn.qkv.weight, model.blocks[0].mlp.fc1.weight):
        error = 0.02 / (2 * weight.numel()) ** 0.5  # standard error of the standard deviation
        assert abs(weight.std() - 0.02) < 4 * error and abs(weight.mean()) < 4 * 0.02 / weight.numel() ** 0.5
    assert all((m.bias == 0).all() for m in model.blocks.modules() if isinstance(m, nn.Linear) and m.bias is not None)


def test_layer_depth_follows_the_data():
    model = nano()
    depths = [
        model.get_layer_depth(f"backbone.{name}", "backbone.")[0]
        for name in (
            "pos_embed",
            "patch_embed.proj.weight",
            "blocks.0.norm1.bias",
            "blocks.2.mlp.fc1.weight",
            "norm.bias",
        )
    ]
    assert depths == [0, 0, 1, 3, 4]
    assert model.get_layer_depth("head.fc.weight", "backbone.") == (4, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arch="huge"), "'tiny', 'small', 'medium', 'large' or a dict, got 'huge'"),
        (dict(arch=None), "'large' or a dict, got None"),
        (dict(arch={**NANO, "width": 3}), r"unknown \['width'\]"),
        (dict(arch={"embed_dims": 12}), r"missing \['feedforward_channels'"),
        (dict(img_size=18), r"multiples of the patch size 4.*\(18, 18\).*for example to \(16, 16\)"),
        (dict(img_size=0), r"multiples of the patch size 4.*\(0, 0\)"),
        (dict(blocks=["full", "conv", "mlp"]), "full, attention, mlp"),
        (dict(blocks=["full"]), "each of 3 layers"),
        (dict(drop_path_rate=[0.1]), r"each of 3 layers, got \[0.1\]"),
        (dict(drop_path_rate=1.0), r"at least 0 and below 1, .*got \[0.0, 0.5, 1.0\]"),
        (dict(frozen_stages=4), r"frozen_stages must be from -1 to 3 \(all blocks\), got 4"),
        (dict(out_indices=[2, -1]), r"must name each block once, got \[2, -1\]"),
        (dict(out_type="tokens"), "'raw', 'featmap' or 'cls_token', got 'tokens'"),
        (dict(out_indices=[3]), "blocks 0 to 2"),
        (dict(out_indices=[]), r"blocks 0 to 2, got \[\]"),
        (dict(out_indices=[1.5]), r"blocks 0 to 2, got \[1.5\]"),
        (dict(out_indices="last"), "blocks 0 to 2, got"),
        (dict(patch_size=5, img_size=20), "patch_size must be even"),
        (dict(arch={**NANO, "num_heads": 5}), "embed_dims must be a multiple of num_heads 5 .*got 12"),
        (dict(arch={**NANO, "num_heads": 0, "stem_channels": True}), "num_heads=0, stem_channels=True"),
        (dict(arch={**NANO, "residual_divisor": 0}), "residual_divisor .*0, got 0"),
        (dict(arch={**NANO, "residual_divisor": None}), "residual_divisor .*0, got None"),
        (dict(arch={**NANO, "residual_divisor": "2"}), "residual_divisor .*0, got '2'"),
        (dict(arch={**NANO, "residual_divisor": float("nan")}), "residual_divisor .*0, got nan"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        nano(**options) if "arch" not in options else LVViT(**options)


@pytest.mark.parametrize(("height", "width", "suggested"), [(16, 30, "16, 32"), (0, 16, "4, 16"), (1, 16, "4, 16")])
def test_an_image_of_a_wrong_size_is_named(height, width, suggested):
    message = rf"got \({height}, {width}\) \(H, W\). Resize or pad the image, for example to \({suggested}\)"
    with pytest.raises(ValueError, match=message):
        nano()(torch.zeros(1, 3, height, width))
