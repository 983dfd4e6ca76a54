"""The data sets and pipeline steps behind a data loader, whatever wraps them."""

from collections.abc import Iterator

from torch.utils.data import Dataset

from mmtl.datasets.transforms.load_score_map import LoadScoreMap


def plain_datasets(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets inside wrappers such as ConcatDataset and RepeatDataset."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner == [None]:
        yield dataset
        return
    for part in inner:
        yield from plain_datasets(part)


def transforms_of(dataset: Dataset) -> list:
    """Steps of a plain data set's pipeline; changing the list changes the pipeline."""
    return getattr(getattr(dataset, "pipeline", None), "transforms", [])


def score_map_loaders(dataset: Dataset) -> list[LoadScoreMap]:
    """The steps of a plain data set's pipeline that load score maps."""
    return [step for step in transforms_of(dataset) if isinstance(step, LoadScoreMap) and step.store is not None]
