from mmtl.evaluation.head_accuracy import HeadAccuracy

__all__ = ["HeadAccuracy"]
