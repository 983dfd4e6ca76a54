from mmtl.evaluation.head_accuracy import HeadAccuracy
from mmtl.evaluation.imagenet_real import ImageNetReaL
from mmtl.evaluation.subset_accuracy import SubsetAccuracy

__all__ = ["HeadAccuracy", "ImageNetReaL", "SubsetAccuracy"]
