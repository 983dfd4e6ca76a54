"""Processor time of the training process per batch: receive it from a worker, prepare images and labels.

    python benchmarks/receive_batch.py                # device meta: no arithmetic, only the host's work
    python benchmarks/receive_batch.py --device cpu   # with the arithmetic, most of it normalizing images

One way is mmtl's: a collated batch, token targets and MixToken. The other is MMPretrain's for the same images without
score maps: samples as they are, ClsDataPreprocessor with CutMix. Both take turns in one process, each with a worker
that only copies ready-made samples. Time is processor time of the training process.
"""

import copy
import time
from collections.abc import Callable

import torch
from measure import alternate, count_operators, make_parser
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from token_targets import make_maps
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtl.models import collate_training_batch

NUM_CLASSES = 1000
NORMALIZATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True, num_classes=NUM_CLASSES)
MMTL = dict(
    NORMALIZATION,
    type="mmtl.TokenLabelDataPreprocessor",
    token_stride=16,
    smoothing=0.1,
    batch_augments=dict(augments=[dict(type="mmtl.MixToken")]),
)
MMPRETRAIN = dict(
    NORMALIZATION, type="ClsDataPreprocessor", batch_augments=dict(augments=[dict(type="CutMix", alpha=1.0)])
)


class ReadyMade(Dataset):
    """An endless dataset of ``batch`` packed samples: 224 x 224 pixels, upright crops, score maps of 18 x 18 x 5."""

    def __init__(self, batch: int, with_maps: bool) -> None:
        images = torch.randint(256, (batch, 3, 224, 224), dtype=torch.uint8)
        maps, self.samples = make_maps(batch, NUM_CLASSES), []
        for index, image in enumerate(images):
            sample = DataSample(metainfo=dict(img_path=f"{index}.jpg")).set_gt_label(index % NUM_CLASSES)
            if with_maps:
                sample.set_field(maps["scores"][index].clone(), "score_map_scores")
                sample.set_field(maps["classes"][index].clone(), "score_map_classes")
                sample.set_field(maps["view_affine"][index].clone(), "view_affine")
            self.samples.append(dict(inputs=image.clone(), data_samples=sample))

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> dict:
        return copy.deepcopy(self.samples[index % len(self.samples)])


def receive(batch: int, preprocessor: nn.Module, collate: Callable, with_maps: bool) -> Callable[[], dict]:
    """Return a call that takes the next batch of a worker and prepares it."""
    loader = iter(DataLoader(ReadyMade(batch, with_maps), batch, num_workers=1, collate_fn=collate))
    return lambda: preprocessor(next(loader), training=True)


def main() -> None:
    """Measure and print."""
    args = make_parser(__doc__, ("meta", "cpu", "cuda"), batch=128, rounds=9).parse_args()
    torch.set_num_threads(1)
    init_default_scope("mmpretrain")
    ways = {
        name: receive(args.batch, MODELS.build(config).to(args.device), collate, with_maps=config is MMTL)
        for name, config, collate in (
            ("mmtl, token labels", MMTL, collate_training_batch),
            ("MMPretrain, class labels", MMPRETRAIN, pseudo_collate),
        )
    }
    seconds = alternate(ways, args.rounds, args.device, time.process_time)
    print(f"batch {args.batch}, {args.device}, {args.rounds} rounds, torch {torch.__version__}")
    print("| way | ms a batch | ratio | operators |\n|---|---|---|---|")
    plain = seconds["MMPretrain, class labels"]
    for name, run in ways.items():
        print(f"| {name} | {1e3 * seconds[name]:.1f} | {seconds[name] / plain:.2f} | {count_operators(run)} |")


if __name__ == "__main__":
    main()
