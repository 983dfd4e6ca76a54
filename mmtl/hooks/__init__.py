from mmtl.hooks.check_annotations import CheckAnnotationsHook
from mmtl.hooks.confusion_matrix import ConfusionMatrixHook

__all__ = ["CheckAnnotationsHook", "ConfusionMatrixHook"]
