"""A complete run on a CPU: synthetic dataset, annotator, score maps, pretraining, segmentation, report."""
