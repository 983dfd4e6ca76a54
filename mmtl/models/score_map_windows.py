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


class _Samples(NamedTuple):
    """Where the bins are sampled, in the unit square of the network's input."""

    u: Tensor  # float64 [B, 1, grid w, 1, most x]
    v: Tensor  # float64 [B, grid h, 1, most y, 1]
    used: Tensor  # bool [B, 1, S], S = most y * most x


class _Bins(NamedTuple):
    """How the bins of a batch are sampled; everything that needs a number on the host is settled here."""

    to_cells: Tensor  # float64 [B, 2, 3], unit square of the input to map cells
    counts: Tensor  # float64 [B, 2], samples along the input's x and along its y in each bin
    most_xy: tuple[int, int]  # the largest counts of the batch
    window_hw: tuple[int, int]  # cells that hold all samples of any bin of the batch


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
    bins = _plan_bins(view_affine.double(), map_hw, grid_hw)
    bins = bins._replace(
        to_cells=bins.to_cells.to(device, non_blocking=True), counts=bins.counts.to(device, non_blocking=True)
    )
    samples = _sample_points(bins, grid_hw)
    h, w = map_hw
    x, y = (cells - 0.5 for cells in _project(bins.to_cells, samples))  # cell (0, 0) has its centre at 0
    edge = 1 + 1e-6  # a sample right on the edge counts, whatever the rounding
    inside = samples.used & (x >= -edge) & (x <= w + edge - 1) & (y >= -edge) & (y <= h + edge - 1)
    for frame in () if frame_affines is None else frame_affines.double().to(device, non_blocking=True).unbind(1):
        for side in _project(frame, samples):
            inside &= (side - 0.5).abs() <= 0.5
    row_weights, rows = _axis_weights(y.clamp_(0, h - 1), bins.window_hw[0], h)
    column_weights, columns = _axis_weights(x.clamp_(0, w - 1), bins.window_hw[1], w)
    sample_weights = inside / samples.used.sum(-1, keepdim=True)
    weights = row_weights.mul_(sample_weights.unsqueeze(-1)).transpose(-1, -2) @ column_weights
    cells = rows.unsqueeze(-1) * w + columns.unsqueeze(-2)  # [B, N, window rows, window columns]
    return MapWindows(cells.flatten(2), weights.flatten(2))


def _plan_bins(view_affine: Tensor, map_hw: tuple[int, int], grid_hw: tuple[int, int]) -> _Bins:
    """Sample counts per image, and the sizes that the whole batch shares."""
    grid_h, grid_w = grid_hw
    to_cells = view_affine * view_affine.new_tensor([[map_hw[1]], [map_hw[0]]])
    sides = to_cells[:, :, :2] / view_affine.new_tensor([grid_w, grid_h])  # columns: the two sides of a bin
    # A side of 1 cell that arithmetic made 1 + 1e-9 still takes one sample.
    counts = (sides.norm(dim=1) - 1e-6).ceil().clamp(min=1)
    # The first and the last sample of a bin lie (1 - 1 / count) of its sides apart.
    spans_xy = (sides.abs() * (1 - 1 / counts).unsqueeze(1)).sum(-1).amax(0).tolist()
    window_w, window_h = (math.ceil(span - 1e-6) + 2 for span in spans_xy)
    most_x, most_y = (int(count) for count in counts.amax(0).tolist())
    return _Bins(to_cells, counts, (most_x, most_y), (min(window_h, map_hw[0]), min(window_w, map_hw[1])))


def _sample_points(bins: _Bins, grid_hw: tuple[int, int]) -> _Samples:
    """Samples of every bin; those that an image does not use repeat its last one."""
    (most_x, most_y), (grid_h, grid_w) = bins.most_xy, grid_hw
    u, used_x = _axis_samples(bins.counts[:, :1], most_x, grid_w)
    v, used_y = _axis_samples(bins.counts[:, 1:], most_y, grid_h)
    used = used_y.unsqueeze(2) & used_x.unsqueeze(1)  # [B, most_y, most_x]
    return _Samples(u[:, None, :, None, :], v[:, :, None, :, None], used.flatten(1).unsqueeze(1))


def _axis_samples(counts: Tensor, most: int, bins: int) -> tuple[Tensor, Tensor]:
    """Places [B, bins, most] of the samples along an axis of the unit square, and which are used, bool [B, most]."""
    steps = torch.arange(most, device=counts.device)
    starts = torch.arange(bins, device=counts.device).view(1, -1, 1)
    within_bin = (torch.minimum(steps, counts - 1) + 0.5) / counts
    return (starts + within_bin.unsqueeze(1)) / bins, steps < counts


def _project(affine: Tensor, samples: _Samples) -> tuple[Tensor, Tensor]:
    """Places (x, y), each [B, N, S], of the samples taken through an affine [B, 2, 3]."""
    affine = affine[..., None, None, None, None]
    sides = (affine[:, i, 0] * samples.u + (affine[:, i, 1] * samples.v + affine[:, i, 2]) for i in range(2))
    return tuple(side.flatten(3).flatten(1, 2) for side in sides)


def _axis_weights(position: Tensor, window: int, size: int) -> tuple[Tensor, Tensor]:
    """Linear interpolation weights [B, N, S, window] along one axis, and the cells [B, N, window] they belong to."""
    first = position.amin(-1).floor_().clamp_(0, size - window)
    steps = torch.arange(window, device=position.device)
    # Measured from the window's first cell the places are small numbers, which float32 holds exactly enough.
    offsets = (position - first.unsqueeze(-1)).float()
    weights = (offsets.unsqueeze(-1) - steps).abs_().neg_().add_(1).clamp_(min=0)
    return weights, first.long().unsqueeze(-1) + steps
