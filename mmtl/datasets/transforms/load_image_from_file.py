import logging
from typing import Any

import mmcv.transforms
import torch
from mmengine import fileio
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from mmtl.registry import TRANSFORMS
from mmtl.utils.read_image import decode_image
from mmtl.utils.text import in_line

MAX_WORKERS = 256  # further ones share a counter


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """mmcv's LoadImageFromFile that names an image that it cannot read, and can skip it.

    A truncated file counts as unreadable: OpenCV 4 would fill the rest of the image with gray without an error.
    Corruption in the middle of a file is not noticed. Images are turned upright by their EXIF orientation, as viewers
    show them and as all of mmtl reads them.

    ``color_type='unchanged'`` keeps all channels, and values of other than 8 bit as float32 without scaling: give mean
    and std in their unit. ``imdecode_backend='tifffile'`` reads TIFFs of any number of channels, in the file's order;
    OpenCV reads up to four, as BGR or BGRA. Such images can be moved (flips, Rotate, Shear, Translate) and erased.

    Args:
        unreadable: 'stop' ends the run with the path. 'skip' logs the path, and the dataset draws another image in
            training (mmtl.CheckInputsHook refuses it in validation); ``num_skipped`` counts them over all data-loader
            workers.
        **kwargs: ``color_type``, ``imdecode_backend``, ``backend_args`` and so on of the parent.

    Raises:
        ValueError: An image cannot be read, or ``unreadable`` is neither 'stop' nor 'skip'.
    """

    def __init__(self, unreadable: str = "stop", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if unreadable not in ("stop", "skip"):
            raise ValueError(f"unreadable must be 'stop' or 'skip', got {unreadable!r}.")
        self.unreadable = unreadable
        # Shared with the workers; one counter for each, as adding is not atomic.
        self._skipped = torch.zeros(MAX_WORKERS, dtype=torch.int64).share_memory_()

    @property
    def num_skipped(self) -> int:
        """Return the number of images skipped so far."""
        return int(self._skipped.sum())

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add ``img``, ``img_shape`` and ``ori_shape``."""
        path = results["img_path"]
        try:
            data = fileio.get(path, backend_args=self.backend_args)
            image = decode_image(data, flag=self.color_type, backend=self.imdecode_backend)
        except ImportError:  # of tifffile
            raise
        except Exception as error:  # decoders raise errors of many types
            return self._report(path, error)
        results["img"] = image.astype("float32") if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _report(self, path: str, error: Exception) -> None:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if self.unreadable == "stop":
            raise ValueError(
                f"{in_line(path)}: cannot read the image: {reason}. Restore it, remove it from the dataset, or skip "
                "such images with LoadImageFromFile(unreadable='skip')."
            ) from None
        worker = get_worker_info()
        self._skipped[worker.id % MAX_WORKERS if worker else 0] += 1
        print_log(f"{in_line(path)}: skipped the image and drew another: {reason}", "current", logging.WARNING)
