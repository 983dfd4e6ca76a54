"""Where each token reads a score map: RoIAlign's bins, samples and bilinear weights, taken through an affine."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class MapWindows(NamedTuple):
    """The cells of a score map that each token reads, with the weight of each cell.

    Args:
        cells: int64 [B, N, W], indices into the h * w cells of the map, row by row.
        weights: float32 [B, N, W], zero where a cell of the window is not touched. They sum to 1 where the token
            lies inside the image, and to the share of its samples that lie inside elsewhere.
    """

    cells: Tensor
    weights: Tensor


class _Plan(NamedTuple):
    """How a batch is sampled. The two axes, x and y, are the first dimension of every tensor here.

    Everything that needs a number on the host is settled here; the tensors then go to the device.
    """

    to_cells: Tensor  # float64 [2, B, 3], unit square of the input to map cells, the first cell's centre at 0
    counts: Tensor  # float64 [2, B, 1, 1], samples in each bin along the input's x and along its y
    lengths: Tensor  # float64 [2, 3], each axis' cells of the map, bins of the grid, cells of the window
    most_xy: tuple[int, int]  # the largest counts of the batch
    window_hw: tuple[int, int]  # cells that hold all samples of any bin of the batch
    upright: bool  # x depends on the input's x alone and y on its y alone: no image is turned or sheared


def map_windows(
    view_affine: Tensor,
    map_hw: tuple[int, int],
    grid_hw: tuple[int, int],
    device: torch.device | str | None = None,
    frame_affines: Tensor | None = None,
) -> MapWindows:
    """Bins of the token grid, read by RoIAlign's rule through an affine.

    Each bin takes ceil(length in cells) samples along each of its sides, spread evenly; a sample interpolates
    bilinearly between cell centres. A sample more than half a cell outside the map counts as nothing; one nearer
    takes the border's value. For an upright crop this is ``torchvision.ops.roi_align(aligned=True)``.

    Args:
        view_affine: [B, 2, 3], from the unit square of the network's input to that of the original image. Its
            sample counts are read on the host, so it is best left on the CPU.
        map_hw: cells of the score map (h, w); the map covers the whole image.
        grid_hw: token grid (h, w).
        device: where the windows are wanted; None means where ``view_affine`` is.
        frame_affines: [B, F, 2, 3], from the unit square of the network's input to unit squares that a sample must
            lie in to count, as :class:`mmtl.PackTokenLabelInputs` packs them.

    Returns:
        MapWindows: with N = product of ``grid_hw``.

    Convention:
        xy_order: the affine acts on (x, y), x to the right, y down.
        row_major: token n is at row n // w and column n % w of the grid.
        cell_centres: cell (row i, column j) of the map has its centre at ((j + 0.5) / w, (i + 0.5) / h).
    """
    frames = () if frame_affines is None else frame_affines.double().transpose(0, 1)
    plan = _plan(view_affine.double(), frames, map_hw, grid_hw)
    plan = plan._replace(**{name: send(getattr(plan, name), device) for name in plan._fields[:3]})
    places, shares = _sample_axes(plan, max(grid_hw))
    positions, shares = _move(plan.to_cells, places, plan, grid_hw), _share_of_samples(shares, plan)
    shares = shares * _inside_map(positions, plan)
    for frame in frames:
        in_frame = _move(send(frame, device).transpose(0, 1), places, plan, grid_hw)
        shares = shares * _both_axes((in_frame - 0.5).abs_() <= 0.5, plan)
    weights, firsts = _axis_weights(positions, plan)
    return _combine(weights, firsts, shares, plan, map_hw[1], grid_hw)


def send(tensor: Tensor, device: torch.device | str | None) -> Tensor:
    """A tensor on a device (None: its own), without waiting where that is safe: the CPU would read it too early."""
    return tensor if device is None else tensor.to(device, non_blocking=torch.device(device).type != "cpu")


def _plan(view_affine: Tensor, frames: Tensor | tuple, map_hw: tuple[int, int], grid_hw: tuple[int, int]) -> _Plan:
    """Sample counts per image, and what the whole batch shares."""
    lengths = view_affine.new_tensor([[map_hw[1], grid_hw[1], 0], [map_hw[0], grid_hw[0], 0]])
    to_cells = view_affine * lengths[:, :1]
    sides = to_cells[:, :, :2] / lengths[:, 1]  # columns: the two sides of a bin
    # A side of 1 cell that arithmetic made 1 + 1e-9 still takes one sample.
    counts = (sides.norm(dim=1) - 1e-6).ceil_().clamp_(min=1)
    # The first and the last sample of a bin lie (1 - 1 / count) of its sides apart.
    spans_xy = (sides.abs() @ (1 - 1 / counts).unsqueeze(-1)).squeeze(-1)
    tilts = [affine[:, i, 1 - i].abs() for affine in (view_affine, *frames) for i in range(2)]
    of_images = torch.column_stack((counts, spans_xy, torch.stack(tilts, dim=1).amax(1)))
    least = of_images.new_tensor([[1, 1, 0, 0, 0]])  # all that a batch of no images has
    *most_xy, span_x, span_y, tilt = torch.cat((least, of_images)).amax(0).tolist()
    window_h, window_w = (
        min(math.ceil(span - 1e-6) + 2, size) for span, size in zip((span_y, span_x), map_hw, strict=True)
    )
    lengths[:, 2] = lengths.new_tensor([window_w, window_h])
    to_cells[:, :, 2] -= 0.5
    counts = counts.T[..., None, None]
    most_xy = tuple(int(count) for count in most_xy)
    return _Plan(to_cells.transpose(0, 1), counts, lengths, most_xy, (window_h, window_w), upright=tilt == 0)


def _sample_axes(plan: _Plan, most_bins: int) -> tuple[Tensor, Tensor]:
    """Places [2, B, bins, S] of the samples along the unit square's axes, and what each counts, [2, B, 1, S].

    Samples that an image does not use repeat its last one and count nothing.
    """
    steps = torch.arange(max(plan.most_xy), device=plan.counts.device)
    starts = torch.arange(most_bins, device=steps.device).unsqueeze(-1)
    within_bin = (torch.minimum(steps, plan.counts - 1) + 0.5) / plan.counts
    return (starts + within_bin) / plan.lengths[:, 1].view(2, 1, 1, 1), ((steps < plan.counts) / plan.counts).float()


def _move(affine: Tensor, places: Tensor, plan: _Plan, grid_hw: tuple[int, int]) -> Tensor:
    """Samples taken through an affine [2, B, 3]: their places along its two axes.

    Returns:
        Tensor: [2, B, bins, S], per axis, for an upright plan, else [2, B, grid h, grid w, S].
    """
    if plan.upright:
        return affine.diagonal(dim1=0, dim2=2).T[..., None, None] * places + affine[:, :, 2:, None]
    (most_x, most_y), (grid_h, grid_w) = plan.most_xy, grid_hw
    u, v = places[0, :, None, :grid_w, None, :most_x], places[1, :, :grid_h, None, :most_y, None]
    along_u, along_v, offset = affine[..., None, None, None, None].unbind(2)
    return (along_u * u + (along_v * v + offset)).flatten(4)


def _share_of_samples(shares: Tensor, plan: _Plan) -> Tensor:
    """What each sample of :func:`_move` counts: [2, B, 1, S] per axis for an upright plan, else [B, 1, 1, S]."""
    if plan.upright:
        return shares
    most_x, most_y = plan.most_xy
    return (shares[1, ..., :most_y, None] * shares[0, ..., None, :most_x]).flatten(2).unsqueeze(1)


def _both_axes(holds: Tensor, plan: _Plan) -> Tensor:
    """Whether something holds for samples, known per axis; samples of a turned image need it for both."""
    return holds if plan.upright else holds.all(0)


def _inside_map(positions: Tensor, plan: _Plan) -> Tensor:
    """Whether samples lie within half a cell of the map; one right on that edge does, whatever the rounding."""
    sizes = plan.lengths[:, 0].view(2, *[1] * (positions.ndim - 1))
    return _both_axes((positions - (sizes - 1) / 2).abs_() <= (sizes + 1) / 2 + 1e-6, plan)


def _axis_weights(positions: Tensor, plan: _Plan) -> tuple[Tensor, Tensor]:
    """Linear interpolation along each axis.

    Args:
        positions: float64 [2, ..., S], places of the samples in cells.
        plan: with the cells of the map and of the window.

    Returns:
        tuple: weights float32 [2, ..., S, window], and the first cell of each window, int64 [2, ...].
    """
    sizes, _, windows = plan.lengths.view(2, 3, *[1] * (positions.ndim - 2)).unbind(1)
    positions = positions.clamp(min=0).minimum((sizes - 1).unsqueeze(-1))
    firsts = positions.amin(-1).floor_().minimum(sizes - windows)
    steps = torch.arange(max(plan.window_hw), device=positions.device)
    # Measured from the window's first cell the places are small numbers, which float32 holds exactly enough.
    offsets = (positions - firsts.unsqueeze(-1)).float()
    return (offsets.unsqueeze(-1) - steps).abs_().neg_().add_(1).clamp_(min=0), firsts.long()


def _combine(
    weights: Tensor, firsts: Tensor, shares: Tensor, plan: _Plan, map_w: int, grid_hw: tuple[int, int]
) -> MapWindows:
    """Windows of cells from what the two axes say."""
    (window_h, window_w), (grid_h, grid_w) = plan.window_hw, grid_hw
    if plan.upright:  # all tokens of a row have the same rows of the map, and all of a column the same columns
        along_x, along_y = (weights * shares.unsqueeze(-1)).sum(-2)  # [B, bins, window]
        weights = along_y[:, :grid_h, None, :window_h, None] * along_x[:, None, :grid_w, None, :window_w]
        firsts = firsts[1, :, :grid_h, None] * map_w + firsts[0, :, None, :grid_w]
    else:
        along_x, along_y = weights[0, ..., :window_w], weights[1, ..., :window_h]
        weights = (along_y * shares.unsqueeze(-1)).transpose(-1, -2) @ along_x
        firsts = firsts[1] * map_w + firsts[0]
    down, right = (torch.arange(length, device=weights.device) for length in plan.window_hw)
    window = (down.unsqueeze(-1) * map_w + right).flatten()
    cells = firsts.unsqueeze(-1) + window  # [B, grid h, grid w, W]
    return MapWindows(cells.flatten(1, 2), weights.flatten(3).flatten(1, 2))
