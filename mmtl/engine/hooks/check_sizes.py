"""Check that the images of a dataset fit into one batch."""

from itertools import islice

from torch.utils.data import Dataset

from mmtl.datasets.dataset_parts import sampled_entries, transforms_of
from mmtl.utils.read_image import image_size

MAX_HEADERS = 1000  # images whose size is read


def check_one_size(dataset: Dataset, name: str, batch_size: int | None) -> None:
    """Check that images have one size if no transform gives them one: a batch could not be collated.

    Args:
        dataset: unwrapped dataset.
        name: of its data loader, for the message.
        batch_size: images in a batch.

    Raises:
        ValueError: Two images have different sizes.
    """
    steps = [type(step).__name__ for step in transforms_of(dataset)]
    if batch_size == 1 or not steps or any("Resize" in step or "Crop" in step for step in steps):
        return
    first = None
    step = max(1, min(len(dataset), 10_000) // MAX_HEADERS)
    for entry in islice(sampled_entries(dataset), 0, None, step):
        size = image_size(entry.get("img_path"))
        first = first or (entry.get("img_path"), size)
        if size and first[1] and size != first[1]:
            (path, (width, height)), (other_width, other_height) = first, size
            raise ValueError(
                f"{name}.dataset.pipeline must resize images of different sizes, such as {path} of {width} x {height} "
                f"and {entry['img_path']} of {other_width} x {other_height} pixels. Add dict(type='Resize', "
                "scale=(WIDTH, HEIGHT)) before the last step."
            )
