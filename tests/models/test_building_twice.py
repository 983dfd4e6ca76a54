import copy

from mmpretrain.registry import MODELS


def test_a_config_builds_any_number_of_equal_models():
    """Guards: MMPretrain's RandomBatchAugment appends to the config's list, so that the second model failed."""
    augments = dict(augments=[dict(type="mmtl.MixToken"), dict(type="mmtl.CutMix")], probs=[0.5, 0.2])
    config = dict(type="mmtl.TokenLabelDataPreprocessor", num_classes=10, token_stride=16, batch_augments=augments)
    before = copy.deepcopy(config)
    for _ in range(2):
        assert len(MODELS.build(config).token_augments.probs) == 3
    assert config == before
