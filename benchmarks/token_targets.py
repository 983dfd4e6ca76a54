"""Token targets and their loss: sparse and in closed form, compared with the dense computation.

python benchmarks/token_targets.py                               # B = 32, K = 1000, grid 14; then K = 21,841, grid 24
python benchmarks/token_targets.py --device cuda --batch 128

The dense way scatters the maps to [B, K, h, w] and applies RoIAlign, a softmax over K, and a product with the
log-softmax of the logits. Both ways get the same maps, upright crops and logits, and take turns in one process. The
memory of the loss excludes the logits' gradient, which both ways have to return. Host time is what the training
process spends on a GPU's targets: windows of the batch in NumPy, and the dispatch of operators, measured on one image.
"""

import functools
import time
from unittest.mock import patch

import torch
from measure import alternate, make_parser, peak_mib
from torch import Tensor
from torchvision.ops import roi_align

from mmtl.models.token_labels import map_windows as windows_module
from mmtl.models.token_labels.loss import token_label_loss
from mmtl.models.token_labels.map_windows import map_windows
from mmtl.models.token_labels.targets import TokenTargets, token_targets
from mmtl.utils.to_device import to_device

MAP_HW, TOPK = (18, 18), 5
HOST_BATCH = 128


def make_maps(batch: int, num_classes: int) -> dict[str, Tensor]:
    """Make score maps and random resized crops (area 0.08 to 1, ratio 3/4 to 4/3), as a data loader returns them."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(num_classes - TOPK, (batch, *MAP_HW, 1), generator=generator) + torch.arange(TOPK)
    scores = torch.randn(batch, *MAP_HW, TOPK, generator=generator).mul(3).sort(descending=True).values
    area = torch.empty(batch).uniform_(0.08, 1, generator=generator)
    ratio = torch.empty(batch).uniform_(-0.2877, 0.2877, generator=generator).exp()
    size = torch.stack(((area * ratio).sqrt(), (area / ratio).sqrt()), dim=1).clamp(max=1)
    corner = torch.rand(batch, 2, generator=generator) * (1 - size)
    view_affine = torch.cat((size.diag_embed(), corner.unsqueeze(-1)), dim=-1)
    return dict(scores=scores.half(), classes=classes.int(), view_affine=view_affine)


def sparse_targets(
    maps: dict[str, Tensor], grid: int, num_classes: int, device: str, smoothing: float = 0.0
) -> TokenTargets:
    """Compute sparse targets."""
    return token_targets(**maps, grid_hw=(grid, grid), num_classes=num_classes, smoothing=smoothing, device=device)


def dense_targets(maps: dict[str, Tensor], grid: int, num_classes: int, device: str) -> Tensor:
    """Compute dense targets [B, N, K]."""
    scores, classes, view_affine = (maps[name].to(device) for name in ("scores", "classes", "view_affine"))
    corner, size = view_affine[:, :, 2], view_affine[:, :, :2].diagonal(dim1=1, dim2=2)
    boxes = torch.cat((corner, corner + size), dim=1)
    dense = torch.zeros(len(scores), num_classes, *MAP_HW, device=device)
    dense.scatter_(1, classes.long().permute(0, 3, 1, 2), scores.float().permute(0, 3, 1, 2))
    read = roi_align(dense, list((MAP_HW[0] * boxes).split(1)), grid, aligned=True)
    return read.softmax(1).flatten(2).transpose(1, 2)


def dense_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the soft cross-entropy, the mean over all axes but the classes, the last one."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


def measure(batch: int, num_classes: int, grid: int, rounds: int, device: str) -> None:
    """Print the table of one setting."""
    maps = make_maps(batch, num_classes)
    logits = torch.randn(batch, grid * grid, num_classes, device=device, requires_grad=True)
    kinds = {"ours": (sparse_targets, token_label_loss), "plain": (dense_targets, dense_loss)}

    def make_targets(name: str) -> object:
        return kinds[name][0](maps, grid, num_classes, device)

    def step(name: str) -> Tensor:
        logits.grad = None
        loss = kinds[name][1](logits, make_targets(name))
        loss.backward()
        return loss.detach()

    difference = float(step("ours") - step("plain"))
    gradient_mib = logits.numel() * logits.element_size() / 2**20
    print(f"\nB = {batch}, K = {num_classes}, grid {grid} x {grid}, map {MAP_HW[0]} x {MAP_HW[1]} x {TOPK}, {device}")
    print(f"losses differ by {difference:.1e}; the logits' gradient takes {gradient_mib:.0f} MiB\n")
    print("| what | ours, ms | plain, ms | ratio | ours, MiB | plain, MiB | ratio |\n|---|---|---|---|---|---|---|")
    for what, beyond_mib, run in (("targets", 0.0, make_targets), ("targets + loss, both passes", gradient_mib, step)):
        ways = {name: functools.partial(run, name) for name in kinds}
        seconds = alternate(ways, rounds, device)
        mib = {}
        for name, way in ways.items():
            logits.grad = None
            mib[name] = peak_mib(way, device) - beyond_mib
        cells = [what]
        for ours, plain in ((1e3 * seconds["ours"], 1e3 * seconds["plain"]), (mib["ours"], mib["plain"])):
            cells += [f"{ours:.1f}", f"{plain:.1f}", f"{ours / plain:.3f}"]
        print(f"| {' | '.join(cells)} |")


def host_ms(batch: int, grid: int, num_classes: int, rounds: int) -> tuple[float, float]:
    """Return milliseconds of processor time for the windows of a batch and for the dispatch of other operators.

    Operators run on one image, so that they are dispatched but have little to compute. The meta device would not do:
    its broadcasts are Python functions, which take ten times as long as a dispatch.
    """
    maps = make_maps(batch, num_classes)
    one = {name: values[:1] for name, values in maps.items()}
    first_image = patch.object(windows_module, "to_device", lambda values, device: to_device(values[:1], device))
    ways = {
        "windows": first_image(functools.partial(map_windows, maps["view_affine"], MAP_HW, (grid, grid), "cpu")),
        "windows of one": functools.partial(map_windows, one["view_affine"], MAP_HW, (grid, grid), "cpu"),
        "targets of one": functools.partial(
            token_targets, **one, grid_hw=(grid, grid), num_classes=num_classes, check_values=False
        ),
    }
    seconds = alternate(ways, rounds, clock=time.process_time)
    return 1e3 * seconds["windows"], 1e3 * (seconds["targets of one"] - seconds["windows of one"])


def main() -> None:
    """Measure and print."""
    args = make_parser(__doc__, batch=32, rounds=9, threads=2).parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, median of {args.rounds} rounds")
    measure(args.batch, 1000, 14, args.rounds, args.device)
    measure(max(1, args.batch // 4), 21841, 24, args.rounds, args.device)
    windows, dispatch = host_ms(HOST_BATCH, 14, 1000, 10 * args.rounds)
    print(f"\nhost time, B = {HOST_BATCH}: windows {windows:.2f} ms + operators {dispatch:.2f} ms")


if __name__ == "__main__":
    main()
