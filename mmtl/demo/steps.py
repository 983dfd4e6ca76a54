"""The steps of the demo: each is a command that also works by hand."""

from pathlib import Path

from mmtl.apis.run_steps import Step

WORK = Path("work_dirs/demo")
DATA = Path("data/demo")


def train_step(name: str, title: str, codebase: str, config: str) -> Step:
    """Return a training run through mim on the CPU."""
    command = ("mim", "train", codebase, config, "--gpus", "0")
    return Step(name, title, command, out=WORK / name, run=WORK / name, resume=("--resume",))


def tool_step(name: str, title: str, out: Path, *arguments: str | Path) -> Step:
    """Return a call of one of mmtl's tools through mim."""
    return Step(name, title, ("mim", "run", "mmtl", *map(str, arguments)), out)


def make_steps(configs: Path) -> list[Step]:
    """Return the demo's steps in order, given the folder of its configs; each reads only what earlier steps made."""
    annotator = str(configs / "resnet-nano_1xb32-9e_demo.py")
    pretrain = str(configs / "lvvit-nano_1xb32-{}-6e_demo.py")
    segment = str(configs / "lvvit-nano_upernet_1xb16-{}-300i_demo-64x80.py")
    token_labels, class_labels = pretrain.format("tokenlabel"), pretrain.format("classlabel")
    segment_tokens, segment_classes = segment.format("tokenlabel"), segment.format("classlabel")
    images, maps, masks = DATA / "classification" / "train", WORK / "score_maps", WORK / "predictions" / "masks"
    weights = WORK / "annotator" / "epoch_9.pth"
    test = ("mim", "test", "mmsegmentation", segment_tokens, "--gpus", "0", "--work-dir", str(masks.parent))
    test += ("--out", str(masks), "--checkpoint", str(WORK / "segmentation_token_labels" / "iter_300.pth"))
    return [
        tool_step("data", "Make the synthetic dataset", DATA, "make_demo_data", DATA),
        train_step("annotator", "Train the annotator, a small CNN", "mmpretrain", annotator),
        tool_step("score_maps", "Make score maps", maps, "make_score_maps", annotator, weights, images, maps),
        train_step("token_labels", "Pretrain LV-ViT with token labels and MixToken", "mmpretrain", token_labels),
        train_step("segmentation_token_labels", "Fine-tune UperNet on it", "mmsegmentation", segment_tokens),
        Step("predictions", "Segment the validation images", test, masks.parent),
        train_step("class_labels", "For comparison: pretrain with class labels only", "mmpretrain", class_labels),
        train_step("segmentation_class_labels", "Fine-tune UperNet on that", "mmsegmentation", segment_classes),
        tool_step("report", "Write the report", WORK / "report.html", "demo", "--report"),
    ]
