"""Load pretrained weights and report what was loaded."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping

from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader, Runner
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmtl.models.lvvit.loading import convert_loaded, nothing_to_load
from mmtl.registry import HOOKS
from mmtl.utils.checkpoint import unwrap_weights, unwrapped_path
from mmtl.utils.model_parts import unwrap_model
from mmtl.utils.text import in_line, shorten
from mmtl.utils.type_name import type_name

MIN_SHARE = 0.9  # of a backbone's weights; without its attention layers a ViT has two thirds


@HOOKS.register_module()
class PretrainedWeightsHook(Hook):
    """Let ``load_from`` take any checkpoint, log what was loaded, and raise an error if nothing was.

    The Runner loads what fits by name and prints the rest as a warning, so that with a checkpoint of other names a
    model would silently train from scratch. The hook reads the file safely and finds the weights in the order that
    :mod:`mmtl.utils.checkpoint` documents. It does not change how a run is resumed. Weights of the backbone that are
    missing are a warning, and an error if they are more than a tenth of it; so are those of an ``init_cfg`` or of
    ``model.pretrained``, which the model loads itself. In validation and test, weights that are missing, and weights
    of a backbone that are unexpected, are errors too.
    """

    priority = "VERY_HIGH"  # before EMAHook, which copies what is left in the checkpoint

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.unused: list[str] = []  # of the backbone
        self.report = ""
        self.other_shape: dict[str, Tensor] = {}  # initial weights of a backbone that may resize those of a checkpoint

    def before_run(self, runner: Runner) -> None:
        """Have ``load_from`` read safely."""
        if runner._load_from and not runner._resume:
            runner._load_from = unwrapped_path(str(runner._load_from))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Reduce the checkpoint's ``state_dict`` to what the model has, before it is loaded."""
        if runner._resume:
            return
        expected = unwrap_model(runner.model).state_dict()
        given = unwrap_weights(checkpoint)
        convert_loaded(given, expected)
        # The backbone gets all of its weights: it checks their arch and resizes a position embedding.
        kept = OrderedDict(
            (name, weight)
            for name, weight in given.items()
            if _is_backbone(name) or (name in expected and weight.shape == expected[name].shape)
        )
        loaded = [name for name in kept if name in expected]
        core = [*filter(_is_backbone, expected)] or [*expected]  # TimmClassifier and HuggingFaceClassifier have none
        if not set(core).intersection(loaded):
            raise nothing_to_load(given, core[0], "Use a checkpoint of a complete model of this project.")
        self.missing = [n for n in expected if n not in loaded and not n.endswith("num_batches_tracked")]
        unexpected = [name for name in given if name not in loaded]
        self.other_shape = {n: expected[n].clone() for n in loaded if kept[n].shape != expected[n].shape}
        check_share(getattr(unwrap_model(runner.model), "backbone", None), expected, self.missing, unexpected)
        # A model without final norm may start from a pretraining checkpoint, whose heads are unexpected too.
        self.unused = [n for n in unexpected if _is_backbone(n) and not n.startswith("backbone.norm.")]
        averaged = checkpoint.keys() & {"ema_state_dict", "state_dict_ema"}
        self.report = (
            f"{'Averaged (EMA) weights' if averaged else 'Weights'} loaded: {_summary(loaded)}; "
            f"missing keys: {_summary(self.missing, True)}; unexpected keys: {_summary(unexpected, True)}"
        )
        # What the report has, MMEngine would print as a mismatch: heads get the values that they have.
        for name in unexpected:
            if name.startswith("backbone.norm."):
                kept.pop(name, None)
        kept.update((name, expected[name]) for name in self.missing if not _is_backbone(name))
        kept._metadata = given._metadata
        checkpoint["state_dict"] = kept

    def before_train(self, runner: Runner) -> None:
        """Log what was loaded; missing weights keep their initial values."""
        if not (self.report or runner._resume):
            self.missing = lacking_initial(unwrap_model(runner.model))
        heads = dict.fromkeys(name.partition(".")[0] for name in self.missing if not _is_backbone(name))
        if self.report and heads:
            self.report += f". Trained from scratch, as intended: {', '.join(heads)}."
        self._log(runner)
        if missing := [name for name in self.missing if _is_backbone(name)]:
            runner.logger.warning(
                f"Weights of the backbone that the checkpoint lacks keep their initial values: {shorten(missing)}."
            )
        self.missing, self.unused = [], []

    def before_test(self, runner: Runner) -> None:
        """Raise an error if parts of the model are untrained or parts of the checkpoint are unused."""
        self._log(runner)
        if self.missing:
            raise ValueError(
                f"The checkpoint lacks {_summary(self.missing, True)}, so part of the tested model would be "
                "untrained. Test a checkpoint of this config; a pretraining checkpoint is for load_from."
            )
        if self.unused:
            raise ValueError(
                f"The checkpoint has {_summary(self.unused, True)}, which this model lacks, so the tested model would "
                "not be the trained one. Give the config that the checkpoint was trained with."
            )

    before_val = before_test

    def _log(self, runner: Runner) -> None:
        weights = unwrap_model(runner.model).state_dict()
        # MMEngine only logs that shapes differ, unless the backbone resizes the weight.
        self.missing += [name for name, start in self.other_shape.items() if weights[name].equal(start)]
        self.other_shape = {}
        if self.report:
            runner.logger.info(self.report)
        self.report = ""


def check_share(
    backbone: nn.Module | None, expected: Mapping[str, Tensor], missing: Iterable[str], unexpected: Iterable[str]
) -> None:
    """Refuse a checkpoint that has less than MIN_SHARE of a backbone's values; a model may have none."""
    total = max(1, sum(weight.numel() for name, weight in expected.items() if _is_backbone(name)))
    lacking = [name for name in missing if _is_backbone(name)]
    share = 1 - sum(expected[name].numel() for name in lacking) / total
    if share >= MIN_SHARE:
        return
    name = type(backbone).__name__
    same_name = MODELS.get(f"mmpretrain.{name}")
    remedy = "Build the backbone that the checkpoint was trained with."
    if same_name not in (None, type(backbone)):  # MMSegmentation's and MMPretrain's classes name weights differently
        remedy = f"If it is one of MMPretrain or this project, set model.backbone.type='mmpretrain.{name}'."
    instead = shorten(filter(_is_backbone, unexpected), 3) or "no others"
    raise ValueError(
        f"The checkpoint has only {share:.0%} of the weights of the backbone {type(backbone).__module__}.{name}: it "
        f"lacks {shorten(lacking, 3)}, and has {instead} instead. {remedy}"
    )


def lacking_initial(model: nn.Module) -> list[str]:
    """Return the backbone's weights that a checkpoint of its or the model's ``init_cfg`` lacks, and `check_share`."""
    found = []
    if not hasattr(model, "backbone"):
        return found
    for module, prefix in ((model, ""), (model.backbone, "backbone.")):
        for cfg in pretrained_cfgs(getattr(module, "init_cfg", None)):
            contents = CheckpointLoader.load_checkpoint(str(cfg["checkpoint"]), "cpu")
            start = (cfg.get("prefix") or "").rstrip(".")
            given = {
                prefix + name.removeprefix(f"{start}."): weight
                for name, weight in contents.get("state_dict", contents).items()
                if isinstance(weight, Tensor) and name.startswith(f"{start}." * bool(start))
            }
            expected = {name: weight for name, weight in model.state_dict().items() if _is_backbone(name)}
            # Backbones may rename weights as they load them, and resize tables of positions.
            values = {_value_key(weight) for weight in given.values()}
            missing = [
                name
                for name, weight in expected.items()
                if not name.endswith("num_batches_tracked")
                and not (name in given and (given[name].shape == weight.shape or "pos" in name))
                and _value_key(weight) not in values
            ]
            check_share(model.backbone, expected, missing, [name for name in given if name not in expected])
            found += missing
    return found


def pretrained_cfgs(init_cfg: Mapping | list | None) -> Iterator[Mapping]:
    """Yield the parts of an ``init_cfg`` that load a checkpoint."""
    for cfg in init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]:
        if type_name(cfg.get("type", "")) in ("Pretrained", "PretrainedInit") and cfg.get("checkpoint"):
            yield cfg


def _value_key(weight: Tensor) -> tuple:
    return weight.numel(), float(weight.detach().double().sum()), float(weight.detach().double().square().sum())


def _is_backbone(name: str) -> bool:
    return name.startswith("backbone.")


def _summary(names: Iterable[str], name_backbone: bool = False) -> str:
    """Return the number of weights of each part; those of the backbone by name if asked for."""
    names = list(names)
    listed = [name for name in names if name_backbone and _is_backbone(name)]
    counts = Counter(name.partition(".")[0] for name in names if name not in listed)
    parts = [f"{in_line(part)} {count}" for part, count in counts.items()]
    return ", ".join([*parts, *[shorten(listed)] * bool(listed)]) or "none"
