from collections.abc import Callable, Iterator, Sequence
from typing import Any


def nested_steps(steps: Sequence[Any], skip: Callable[[Any], bool] = lambda step: False) -> Iterator[Any]:
    """Yield the steps of a pipeline and those inside them.

    Args:
        steps: transforms, also lists of them and transforms that contain others.
        skip: whether a step is left out, with those inside it.
    """
    for step in steps:
        if isinstance(step, list | tuple):
            yield from nested_steps(step, skip)
            continue
        inner = getattr(step, "t", step)  # MMPretrain's wrapper of a torchvision transform
        if not skip(inner):
            yield inner
            yield from nested_steps(getattr(inner, "transforms", ()), skip)
