"""A type is the same as a name, as a class and as the full path that a dumped config holds."""

import pytest
from mmengine.config import Config
from mmpretrain.registry import MODELS, TRANSFORMS

from mmtl.datasets.transforms.rand_augment import with_view
from mmtl.models import LVViT, TokenLabelClassifier, TokenLabelDataPreprocessor, TokenLabelHead
from mmtl.utils.checkpoint import unwrapped_init_cfg
from mmtl.utils.type_name import type_path

ARCH = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=1)
TYPES = (TokenLabelClassifier, LVViT, TokenLabelHead, TokenLabelDataPreprocessor)


@pytest.mark.parametrize("form", [lambda kind: f"mmtl.{kind.__name__}", lambda kind: kind, type_path])
def test_class_count_and_token_stride_are_filled_in_for_every_form_of_a_type(form):
    model, backbone, head, preprocessor = map(form, TYPES)
    config = dict(
        type=model,
        backbone=dict(type=backbone, arch=ARCH, img_size=32, patch_size=8),
        head=dict(type=head, num_classes=7, in_channels=12),
        data_preprocessor=dict(type=preprocessor, mean=[1.0] * 3, std=[1.0] * 3),
    )
    built = MODELS.build(config).data_preprocessor
    assert (built.num_classes, built.token_stride) == (7, 8)


NEW_STYLE = """
from mmtl.models import LVViT, TokenLabelClassifier, TokenLabelDataPreprocessor, TokenLabelHead

arch = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=1)
model = dict(
    type=TokenLabelClassifier,
    backbone=dict(type=LVViT, arch=arch, img_size=32, patch_size=8),
    head=dict(type=TokenLabelHead, num_classes=7, in_channels=12),
    data_preprocessor=dict(type=TokenLabelDataPreprocessor),
)
"""


def test_a_config_in_the_new_style_builds_the_same_model_before_and_after_its_dump(tmp_path):
    (tmp_path / "new.py").write_text(NEW_STYLE)
    config = Config.fromfile(tmp_path / "new.py", lazy_import=True)
    config.dump(tmp_path / "dumped.py")
    dumped = Config.fromfile(tmp_path / "dumped.py")
    assert dumped.model.data_preprocessor.type.startswith("mmtl.models.")
    for each in (dumped, config):
        built = MODELS.build(each.model).data_preprocessor
        assert (built.num_classes, built.token_stride) == (7, 8)


def test_moving_policies_and_pretrained_weights_are_recognized_in_every_form():
    for name in ("Rotate", "mmpretrain.Rotate", "mmpretrain.datasets.transforms.auto_augment.Rotate"):
        assert with_view(dict(type=name))["type"] == "mmtl.Rotate"
    assert with_view(dict(type=TRANSFORMS.get("mmpretrain.Rotate")))["type"] == "mmtl.Rotate"
    assert with_view(dict(type="other.Rotate"))["type"] == "other.Rotate"
    path = dict(type="mmengine.model.weight_init.PretrainedInit", checkpoint="a.pth")
    assert unwrapped_init_cfg(path)["checkpoint"] == "unwrapped:a.pth"
