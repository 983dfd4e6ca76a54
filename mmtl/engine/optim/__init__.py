from mmtl.engine.optim.bfloat16 import BFloat16OptimWrapper
from mmtl.engine.optim.layer_decay import LayerDecayOptimWrapperConstructor
from mmtl.engine.optim.merged_groups import MergedOptimWrapperConstructor

__all__ = ["BFloat16OptimWrapper", "LayerDecayOptimWrapperConstructor", "MergedOptimWrapperConstructor"]
