from functools import partial

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmtl.registry import HOOKS
from mmtl.utils.compile_or_warn import CompiledOrEager
from mmtl.utils.model_parts import unwrap_model

PARTS = ("backbone", "neck", "decode_head", "auxiliary_head")


def compile_model(model: nn.Module, options: dict) -> None:
    """Compile the losses of a classifier, or the parts of a segmentor, with options of ``torch.compile``."""
    if hasattr(model, "compile_training"):
        model.compile_training(**options)
        return
    for part in (getattr(model, name, None) for name in PARTS):
        for module in part if isinstance(part, nn.ModuleList) else filter(None, [part]):
            # The class's function: a copy of the module (EMA) uses its own weights.
            module.forward = partial(CompiledOrEager(type(module).forward, options), module)


@HOOKS.register_module()
class CompileHook(Hook):
    """Let mmengine's ``compile`` option compile the model instead of the training step.

    A training step contains data preparation with random draws, mixed-precision contexts and the optimizer, which
    break it into many graphs that are compiled again and again. With this hook ``--cfg-options compile=True`` compiles
    the losses of :class:`mmtl.TokenLabelClassifier` as one graph, also under distributed training. Of a segmentor it
    compiles backbone, neck and heads as one graph each, up to the logits.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        """Take the option from the config before the Runner applies it."""
        options = runner.cfg.get("compile")
        if not options:
            return
        runner.cfg.compile = False
        options = {} if options is True else dict(options)
        compile_model(unwrap_model(runner.model), options)
        runner.logger.info("The model is compiled. The first iterations, and the first of a new input size, are slow.")
