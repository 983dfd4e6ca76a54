import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtl.models import TokenLabelHead
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import head_of, unwrap_model
from mmtl.visualization.token_labels import draw_predictions, predict_tokens


@HOOKS.register_module()
class TokenLabelVisualizationHook(Hook):
    """Draws class attention and token classes over a fixed set of validation images every few epochs.

    The class token's attention in the last block is a heat map; the top-1 class of every patch token is a color,
    more opaque with its probability. A class keeps its color from image to image and from epoch to epoch. The figure
    goes to the visualizer: ``vis_data/vis_image/token_labels_EPOCH.png`` of the run with the local backend. Models
    without a trained patch classifier are not drawn.

    Args:
        interval: epochs between figures; they come with the validation of those epochs, with the first and the last.
        num_images: number of images, evenly spaced in the validation set.
    """

    priority = "HIGH"  # before EMAHook swaps its averaged weights out

    def __init__(self, interval: int = 10, num_images: int = 8) -> None:
        self.interval, self.num_images, self.has_drawn = interval, num_images, False

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw a figure when it is due."""
        model, head = unwrap_model(runner.model), head_of(runner.model)
        if not isinstance(head, TokenLabelHead) or not head.beta:
            return
        if self.has_drawn and runner.epoch % self.interval and runner.epoch != runner.max_epochs:
            return
        self.has_drawn = True
        dataset = runner.val_loop.dataloader.dataset
        names = dataset.metainfo.get("classes")
        indices = np.linspace(0, len(dataset) - 1, min(self.num_images, len(dataset))).round().astype(int)
        predictions = predict_tokens(model, [dataset[int(index)] for index in indices], names)
        runner.visualizer.add_image("token_labels", draw_predictions(predictions, names), runner.epoch or runner.iter)
