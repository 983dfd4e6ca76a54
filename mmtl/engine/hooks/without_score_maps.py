from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import constant_init
from mmengine.runner import Runner

from mmtl.datasets.pipelines import plain_datasets, score_map_loaders
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import head_of


@HOOKS.register_module()
class WithoutScoreMapsHook(Hook):
    """Makes ``score_maps=None`` train on class labels alone, also on the command line.

    ``--cfg-options score_maps=None`` changes the name alone, when the pipeline has already been made from it.
    """

    priority = "VERY_HIGH"  # before the inputs are checked

    def before_train(self, runner: Runner) -> None:
        """Turns off every LoadScoreMap of the training data, and the patch classifier.

        Nothing will train that, so it is set to zeros: it adds nothing to a prediction, then or later.
        """
        if "score_maps" not in runner.cfg or runner.cfg.score_maps is not None:
            return
        for dataset in plain_datasets(runner.train_dataloader.dataset):
            for load in score_map_loaders(dataset):
                print_log(f"score_maps=None: the score maps of {load.store!s} are not read", logger="current")
                load.store = None
        token_fc = getattr(head_of(runner.model), "token_fc", None)
        if token_fc is not None:
            constant_init(token_fc, 0)
