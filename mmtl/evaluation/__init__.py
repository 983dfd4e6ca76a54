from mmtl.evaluation.cross_entropy import CrossEntropy
from mmtl.evaluation.head_accuracy import HeadAccuracy
from mmtl.evaluation.imagenet_real import ImageNetReaL
from mmtl.evaluation.subset_accuracy import SubsetAccuracy

__all__ = ["CrossEntropy", "HeadAccuracy", "ImageNetReaL", "SubsetAccuracy"]
