from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmtl.engine.optim.merged_groups import MergedGroupsMixin
from mmtl.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(MergedGroupsMixin, DefaultOptimWrapperConstructor):
    """Layer-wise learning-rate decay for any model with a ``backbone`` that knows the depth of its parameters.

    MMSegmentation's own constructor supports only ConvNeXt, BEiT and MAE, by class name, and MMPretrain's ignores
    some options. ``paramwise_cfg`` is mmengine's, all of it, and ``layer_decay_rate``, which multiplies the rates that
    the other options give; necks and heads learn at the full rate. Parameters of equal settings share a group, at most
    2 per depth without ``custom_keys``; ``merge_groups=False`` in ``paramwise_cfg`` turns that off.
    """

    options = (*MergedGroupsMixin.options, "layer_decay_rate")

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs: object) -> None:
        """Add a module's parameters to ``params``, and scale the rates of the complete model (no ``prefix``)."""
        super().add_params(params, module, prefix=prefix, **kwargs)

    def adjust(self, params: list[dict], model: nn.Module) -> None:
        """Scale the rate of each parameter's group by its depth."""
        names = {id(param): name for name, param in model.named_parameters()}
        rate = self.paramwise_cfg.get("layer_decay_rate", 1.0)
        for group in params:
            layer, num_layers = depth_of(model, names[id(group["params"][0])])
            scale = rate ** (num_layers - layer - 1)
            group["lr"] = group.get("lr", self.base_lr) * scale
            group.update(lr_scale=scale, layer_id=layer)


def depth_of(model: nn.Module, name: str) -> tuple[int, int]:
    """Return depth and number of depths of a parameter; a segmentor leaves the question to its backbone."""
    if hasattr(model, "get_layer_depth"):
        return model.get_layer_depth(name)
    backbone = getattr(model, "backbone", model)
    if hasattr(backbone, "get_layer_depth"):
        return backbone.get_layer_depth(name, "backbone.")
    raise ValueError(
        f"{type(backbone).__name__} does not know the depth of its parameters (no get_layer_depth), which "
        "layer_decay_rate needs. Use mmtl.LVViT or a transformer of mmpretrain, or another optim_wrapper.constructor."
    )
