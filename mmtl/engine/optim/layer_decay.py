from collections.abc import Callable

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from mmtl.engine.optim.merged_groups import MergedGroupsMixin
from mmtl.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(MergedGroupsMixin, LearningRateDecayOptimWrapperConstructor):
    """MMPretrain's layer-wise learning-rate decay for any model with a ``backbone``, such as a segmentor.

    A classifier knows the depth of its parameters, a segmentor leaves that to its backbone. MMSegmentation's own
    constructor supports only ConvNeXt, BEiT and MAE, by class name. ``paramwise_cfg`` is MMPretrain's, with
    ``layer_decay_rate``; necks and heads learn at the full rate. Parameters of equal settings share a group, at most
    2 per depth; ``merge_groups=False`` in ``paramwise_cfg`` turns that off.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = "",
        get_layer_depth: Callable[[str], tuple[int, int]] | None = None,
        **kwargs: object,
    ) -> None:
        """Add a module's parameters to ``params`` with the learning rate of their depth.

        ``get_layer_depth`` returns depth and number of depths of a parameter's name; None asks the model's backbone.
        """
        if get_layer_depth is None and not hasattr(module, "get_layer_depth"):

            def get_layer_depth(name: str) -> tuple[int, int]:
                return module.backbone.get_layer_depth(name, "backbone.")

        super().add_params(params, module, prefix=prefix, get_layer_depth=get_layer_depth, **kwargs)
