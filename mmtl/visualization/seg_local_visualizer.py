from typing import Any

import numpy as np
from mmengine.structures import PixelData
from mmseg.visualization import SegLocalVisualizer as MMSegSegLocalVisualizer

from mmtl.registry import VISUALIZERS


@VISUALIZERS.register_module()
class SegLocalVisualizer(MMSegSegLocalVisualizer):
    """MMSegmentation's visualizer that also draws images of one pixel."""

    def _draw_sem_seg(self, image: np.ndarray, sem_seg: PixelData, *args: Any, **kwargs: Any) -> np.ndarray:
        # The parent indexes an array by a tensor, and NumPy takes a tensor of one element for an index.
        return super()._draw_sem_seg(image, sem_seg.numpy(), *args, **kwargs)
