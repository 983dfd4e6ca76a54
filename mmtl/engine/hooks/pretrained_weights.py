"""Loading of pretrained weights that says what it took."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtl.engine.hooks.checkpoint import no_checkpoint
from mmtl.models.lvvit.released_weights import unwrap
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import unwrap_model


@HOOKS.register_module()
class PretrainedWeightsHook(Hook):
    """Let ``load_from`` take a pretraining checkpoint, log what was loaded, and refuse to go on with nothing.

    The Runner loads what fits by name and prints the rest as a warning, so a checkpoint of other names trains from
    scratch unseen. Averaged weights need no choice: mmengine's ``EMAHook`` swaps them into ``state_dict`` when it
    saves and keeps the plain ones in ``ema_state_dict``; ``state_dict_ema`` of other training code goes first. A
    resumed run is left alone.

    Raises:
        ValueError: If the checkpoint holds no weight of the backbone, and in a test if it lacks any weight or holds
            more of a backbone than the model has.
    """

    priority = "VERY_HIGH"  # before EMAHook, which copies what is left in the checkpoint

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.unused: list[str] = []  # of the backbone
        self.report = ""

    def before_run(self, runner: Runner) -> None:
        """Refuse a file that is no whole checkpoint before torch fails on it without its name.

        Raises:
            ValueError: If it is cut short, damaged or something else.
        """
        path = Path(runner._load_from or "")
        if not runner._resume and path.is_file() and (problem := no_checkpoint(path)):
            raise ValueError(f"cannot load {path}: {problem}. Get or copy it again, or give another checkpoint.")

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep of the checkpoint what the model has, before it is loaded."""
        if runner._resume:
            return
        wanted = unwrap_model(runner.model).state_dict()
        given = unwrap(checkpoint)
        # The backbone sees all of its weights: it checks their arch and resizes a position embedding.
        kept = OrderedDict(
            (name, weight)
            for name, weight in given.items()
            if _is_backbone(name) or (name in wanted and weight.shape == wanted[name].shape)
        )
        taken = [name for name in kept if name in wanted]
        if not any(map(_is_backbone, taken)):
            raise ValueError(_nothing_to_load(given, wanted))
        self.missing = [n for n in wanted if n not in taken and not n.endswith("num_batches_tracked")]
        left_out = [name for name in given if name not in taken]
        # A final norm that the model does not have is that of a pretraining, of which also the heads are missing.
        self.unused = [n for n in left_out if _is_backbone(n) and not n.startswith("backbone.norm.")]
        averaged = checkpoint.keys() & {"ema_state_dict", "state_dict_ema"}
        self.report = (
            f"{'Averaged (EMA) weights' if averaged else 'Weights'} loaded: {_summary(taken)}; "
            f"not in the checkpoint: {_summary(self.missing, True)}; left out of it: {_summary(left_out, True)}"
        )
        kept._metadata = getattr(checkpoint.get("state_dict"), "_metadata", None) or OrderedDict()
        checkpoint["state_dict"] = kept

    def before_train(self, runner: Runner) -> None:
        """Log what was loaded; what is missing starts from its initial values."""
        self._log(runner)
        self.missing, self.unused = [], []

    def before_val(self, runner: Runner) -> None:
        """Refuse to measure a model that is in part untrained."""
        self.before_test(runner)

    def before_test(self, runner: Runner) -> None:
        """Refuse to measure a model that is in part untrained."""
        self._log(runner)
        if self.missing:
            raise ValueError(
                f"the checkpoint lacks {_summary(self.missing, True)}, so what would be measured is in part "
                "untrained: test a checkpoint that this config trained (a pretraining checkpoint is the load_from "
                "of a training)"
            )
        if self.unused:
            raise ValueError(
                f"the checkpoint has {_summary(self.unused, True)}, which this model lacks, so another model would be "
                "measured than was trained: give the config that the checkpoint was trained with"
            )

    def _log(self, runner: Runner) -> None:
        if self.report:
            runner.logger.info(self.report)
        self.report = ""


def _is_backbone(name: str) -> bool:
    return name.startswith("backbone.")


def _summary(names: Iterable[str], name_backbone: bool = False) -> str:
    """Number of weights of each part, those of the backbone by name if asked for."""
    names = list(names)
    listed = [name for name in names if name_backbone and _is_backbone(name)]
    counts = Counter(name.partition(".")[0] for name in names if name not in listed)
    shown = [*listed[:6], *[f"{len(listed) - 6} more of the backbone"] * (len(listed) > 6)]
    return ", ".join([f"{part} {count}" for part, count in counts.items()] + shown) or "nothing"


def _nothing_to_load(given: Iterable[str], wanted: Iterable[str]) -> str:
    example = next(filter(_is_backbone, wanted), "backbone.")
    message = (
        f"nothing to load: the checkpoint has {', '.join(list(given)[:3])}, ..., but no weight of the backbone such "
        f"as {example}. Give a checkpoint of a whole model of this project"
    )
    if any(name.startswith("blocks.") for name in given):
        message += "; these look like released names: rename them with `mim run mmtl convert_checkpoint SRC DST`"
    return message
