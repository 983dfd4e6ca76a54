from mmtl.engine.optim.layer_decay import LayerDecayOptimWrapperConstructor
from mmtl.engine.optim.merged_groups import MergedOptimWrapperConstructor

__all__ = ["LayerDecayOptimWrapperConstructor", "MergedOptimWrapperConstructor"]
