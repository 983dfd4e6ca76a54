from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tiny_classifier import Images, classifier
from mmengine.registry import HOOKS


@pytest.mark.parametrize(("epoch", "beta", "drawn"), [(3, 0.5, True), (4, 0.5, False), (10, 0.5, True), (3, 0, False)])
def test_figures_come_first_every_few_epochs_and_at_the_last_for_trained_patch_classifiers(epoch, beta, drawn):
    images = []
    runner = SimpleNamespace(
        model=classifier(beta),
        epoch=epoch,
        max_epochs=10,
        val_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=Images())),
        visualizer=SimpleNamespace(add_image=lambda *args: images.append(args)),
    )
    hook = HOOKS.build(dict(type="mmtl.TokenLabelVisualizationHook", interval=3, num_images=2))
    hook.after_val_epoch(runner)
    assert len(images) == (beta > 0)  # the first validation is always drawn
    images.clear()
    hook.after_val_epoch(runner)
    hook.after_val_epoch(runner)
    assert len(images) == 2 * drawn
    for name, image, step in images:
        assert (name, step, image.dtype) == ("token_labels", epoch, np.uint8) and image.std() > 10
    if drawn:
        np.testing.assert_array_equal(images[0][1], images[1][1])  # the same images, the same colours
