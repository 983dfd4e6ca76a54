from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import constant_init
from mmengine.runner import Runner

from mmtl.datasets.dataset_parts import leaf_datasets, score_map_loaders
from mmtl.engine.hooks.check_annotator import storeless_labels
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import head_of


@HOOKS.register_module()
class WithoutScoreMapsHook(Hook):
    """Load no score maps if the config sets ``score_maps=None``, or if the patch tokens learn from something else.

    ``--cfg-options score_maps=None`` changes only this variable, after the pipeline was built from it. This hook
    applies the change to the pipeline. ``model.annotator`` and ``model.head.patch_target='label'`` replace a store.
    """

    priority = "VERY_HIGH"  # before CheckInputsHook

    def before_train(self, runner: Runner) -> None:
        """Disable every LoadScoreMap of the training data, and set a patch classifier that learns nothing to zero.

        At zero it contributes nothing to predictions.
        """
        labels = storeless_labels(runner.model)
        if labels is None and ("score_maps" not in runner.cfg or runner.cfg.score_maps is not None):
            return
        reason = "score_maps=None" if labels is None else f"Patch tokens learn from {labels}"
        for dataset in leaf_datasets(runner.train_dataloader.dataset):
            for load in score_map_loaders(dataset):
                print_log(f"{reason}: score maps of {load.store!s} are not loaded.", logger="current")
                load.store = None
        token_fc = getattr(head_of(runner.model), "token_fc", None)
        if token_fc is not None and labels is None:
            constant_init(token_fc, 0)
