"""The compiled losses are one graph, compiled once for all draws, and equal the eager ones."""

import copy
import logging

import numpy as np
import pytest
import torch
from helpers.online_annotators import write_cnn
from mmpretrain.registry import MODELS
from test_collate import samples, without_draws
from torch._dynamo.testing import CompileCounterWithBackend

from mmtl.engine.hooks.compile import compile_model
from mmtl.models.collate import collate_training_batch
from mmtl.utils import compile_or_warn

NANO = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)


def build(augment="mmtl.MixToken", annotator=None, **preprocessor):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.LVViT", arch=NANO, img_size=16, patch_size=4, drop_path_rate=[0.05, 0.3]),
            head=dict(type="mmtl.TokenLabelHead", num_classes=70, in_channels=12),
            data_preprocessor=dict(
                smoothing=0.1,
                mean=[1, 2, 3],
                std=[4, 5, 6],
                batch_augments=dict(augments=[dict(type=augment)]),
                **preprocessor,
            ),
            annotator=annotator,
        )
    )
    return model.train()


def batch_of(**fields):
    return collate_training_batch(without_draws(samples(**fields)), 70)


def step(model, batch, seed):
    """Losses and gradients of a training step."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    model.zero_grad()
    (losses["loss_cls"] + losses["loss_token"]).backward()
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


def test_ten_steps_compile_one_graph_and_equal_the_eager_steps():
    torch._dynamo.reset()
    compiled, eager, backend = build(), build(), CompileCounterWithBackend("aot_eager")
    compiled.compile_training(backend=backend, fullgraph=True)  # a graph break is an error
    masks = set()
    for seed in range(10):
        batch = batch_of()
        np.random.seed(seed)
        masks.add(tuple(eager.data_preprocessor(batch, training=True)["token_mix"].mask.tolist()))
        torch.testing.assert_close(step(compiled, batch, seed), step(eager, batch, seed), rtol=1e-4, atol=1e-5)
    assert len(masks) >= 5 and backend.frame_count == 1
    # A batch without score maps is a second graph, a smaller last batch a third, for any size.
    for fields, graphs in (
        (dict(without_map=range(4)), 2),
        (dict(), 2),
        (dict(batch=3), 3),
        (dict(batch=2), 3),
        (dict(), 3),
    ):
        batch = batch_of(**fields)
        torch.testing.assert_close(step(compiled, batch, 0), step(eager, batch, 0), rtol=1e-4, atol=1e-5)
        assert backend.frame_count == graphs


@pytest.mark.parametrize(
    ("topk", "form", "options"), [(None, "gumbel", dict(compile=dict(backend="aot_eager"))), (5, "soft", {})]
)
def test_steps_with_an_online_annotator_compile_one_graph_and_equal_the_eager_steps(topk, form, options, tmp_path):
    torch._dynamo.reset()
    annotator = dict(model=write_cnn(tmp_path, classes=70), checkpoint="random", dtype="float32", topk=topk)
    compiled, eager = (
        build(annotator=own, label_form=form, tail="probability") for own in ({**annotator, **options}, annotator)
    )
    backend = CompileCounterWithBackend("aot_eager")
    compile_model(compiled, dict(backend=backend, fullgraph=True))  # as CompileHook does
    for seed in range(4):
        batch = batch_of(without_map=range(4))
        losses, gradients = step(eager, batch, seed)
        assert losses["loss_token"] > 0  # the annotator's labels
        torch.testing.assert_close(step(compiled, batch, seed), (losses, gradients), rtol=1e-4, atol=1e-5)
    assert backend.frame_count == 1


def test_a_copy_of_a_compiled_model_uses_its_own_weights():
    torch._dynamo.reset()
    model = build()
    model.compile_training(backend="eager")
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    losses, _ = step(model, batch_of(), 0)
    copied_losses, _ = step(copied, batch_of(), 0)
    assert losses["loss_cls"].item() == pytest.approx(np.log(70), rel=0.02)
    torch.testing.assert_close(copied_losses, step(build(), batch_of(), 0)[0])
    assert not torch.allclose(losses["loss_token"], copied_losses["loss_token"])


def test_without_a_compiler_training_warns_and_continues_eager(monkeypatch):
    torch._dynamo.reset()
    model, logged = build(), []
    monkeypatch.setattr(compile_or_warn, "print_log", lambda message, **options: logged.append((message, options)))
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}):
        model.compile_training()
        losses, _ = step(model, batch_of(), 0)
    torch.testing.assert_close(losses, step(build(), batch_of(), 0)[0])
    step(model, batch_of(), 1)
    ((message, options),) = logged
    assert message.startswith("torch.compile failed") and "C++ compiler" in message
    assert options["level"] == logging.WARNING


def test_an_error_after_the_first_step_is_not_hidden():
    torch._dynamo.reset()
    model, calls = build(), []

    def failing_second_time(graph, inputs):
        calls.append(graph)
        if len(calls) == 2:
            raise RuntimeError("out of registers")
        return graph.forward

    model.compile_training(backend=failing_second_time)
    step(model, batch_of(), 0)
    with pytest.raises(torch._dynamo.exc.TorchDynamoException, match="out of registers"):
        step(model, batch_of(without_map=range(4)), 0)
