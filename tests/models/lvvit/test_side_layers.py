import pytest
import torch

from mmtl.models.lvvit.side_layers import SideLayers


def feature_maps(channels: int = 6, grid_hw: tuple[int, int] = (3, 5), levels: int = 4) -> list[torch.Tensor]:
    return [torch.randn(2, channels, *grid_hw) for _ in range(levels)]


@pytest.mark.parametrize(
    ("form", "scales", "channels"),
    [("pyramid", (4, 2, 1, 1), (6, 6, 6, 10)), ("fcn", (1, 1, 1, 2), (6, 6, 6, 10))],
)
def test_a_form_upsamples_each_level_by_its_factor(form, scales, channels):
    outputs = SideLayers(6, 10, form=form)(feature_maps())
    expected = [(2, c, 3 * s, 5 * s) for c, s in zip(channels, scales, strict=True)]
    assert [tuple(x.shape) for x in outputs] == expected


def test_the_fcn_form_passes_the_first_two_maps_through():
    maps = feature_maps()
    outputs = SideLayers(6, 10, form="fcn")(maps)
    assert outputs[0] is maps[0] and outputs[1] is maps[1]


def test_each_cell_is_upsampled_separately():
    """Kernel equals stride: a change in one cell changes only that cell's block of the output."""
    torch.manual_seed(0)
    neck = SideLayers(6, 10).eval()
    maps = feature_maps()
    changed = [x.clone() for x in maps]
    changed[0][:, :, 1, 2] += 1
    difference = (neck(changed)[0] - neck(maps)[0]).abs().sum(dim=(0, 1))  # [4h, 4w]
    assert difference[4:8, 8:12].gt(0).any()
    difference[4:8, 8:12] = 0
    assert not difference.any()


def test_every_projected_output_is_rectified_and_every_parameter_learns():
    neck = SideLayers(6, 10)
    outputs = neck(feature_maps())
    assert all(x.min() == 0 for x in outputs)
    sum(x.square().sum() for x in outputs).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())


def test_convolutions_have_no_bias():
    names = [name for name, _ in SideLayers(6, 10).named_parameters()]
    assert [n for n in names if n.startswith("side_layer1.")] == [
        f"side_layer1.{n}" for n in ("0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias")
    ]


def test_norm_cfg_selects_the_normalization():
    neck = SideLayers(6, 10, norm_cfg=dict(type="SyncBN"))
    assert isinstance(neck.side_layer1[1], torch.nn.SyncBatchNorm)


def test_bad_form_and_wrong_number_of_maps_are_named():
    with pytest.raises(ValueError, match="form must be one of .*'fcn', 'pyramid'.*got 'fpn'"):
        SideLayers(6, 10, form="fpn")
    with pytest.raises(ValueError, match="needs 4 feature maps, got 3"):
        SideLayers(6, 10)(feature_maps(levels=3))
