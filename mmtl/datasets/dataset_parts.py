"""Access to the datasets and transforms behind dataset wrappers."""

from collections.abc import Iterator

from torch.utils.data import Dataset

from mmtl.datasets.transforms.load_score_map import LoadScoreMap

MAX_LOOKUPS = 10_000  # entries of a dataset, looked up in well under a second


def leaf_datasets(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the datasets inside wrappers such as ConcatDataset and RepeatDataset."""
    if hasattr(dataset, "datasets"):
        inner = dataset.datasets
    elif hasattr(dataset, "dataset"):
        inner = [dataset.dataset]
    else:
        yield dataset
        return
    for part in inner:
        yield from leaf_datasets(part)


def sampled_entries(dataset: Dataset) -> Iterator[dict]:
    """Yield at most MAX_LOOKUPS entries of an unwrapped dataset's list, spread evenly over it."""
    for index in range(0, len(dataset), -(-len(dataset) // MAX_LOOKUPS) or 1):
        yield dataset.get_data_info(index)


def transforms_of(dataset: Dataset) -> list:
    """Return the transforms of an unwrapped dataset; changing the list changes its pipeline."""
    return getattr(getattr(dataset, "pipeline", None), "transforms", [])


def score_map_loaders(dataset: Dataset) -> list[LoadScoreMap]:
    """Return the transforms of an unwrapped dataset that load score maps."""
    return [step for step in transforms_of(dataset) if isinstance(step, LoadScoreMap) and step.store is not None]
