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
    uv1, used = _sample_points(bins, grid_hw)  # [B, N, S, 3] in the network's input, bool [B, 1, S]
    xy = _map_points(uv1, bins.to_cells) - 0.5  # cell (0, 0) has its centre at 0
    h, w = map_hw
    x, y = xy.unbind(-1)
    edge = 1 + 1e-6  # a sample right on the edge counts, whatever the rounding
    inside = (x >= -edge) & (x <= w + edge - 1) & (y >= -edge) & (y <= h + edge - 1) & used
    for frame in frame_affines.double().to(device, non_blocking=True).unbind(1) if frame_affines is not None else ():
        inside &= ((_map_points(uv1, frame) - 0.5).abs() <= 0.5).all(-1)
    row_weights, rows = _axis_weights(y.clamp(0, h - 1), bins.window_hw[0], h)
    column_weights, columns = _axis_weights(x.clamp(0, w - 1), bins.window_hw[1], w)
    sample_weights = inside / used.sum(-1, keepdim=True)
    weights = (row_weights * sample_weights.unsqueeze(-1)).transpose(-1, -2) @ column_weights
    cells = rows.unsqueeze(-1) * w + columns.unsqueeze(-2)  # [B, N, window rows, window columns]
    return MapWindows(cells.flatten(2), weights.flatten(2).float())


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


def _sample_points(bins: _Bins, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Samples (x, y, 1) of every bin, unit square, [B, N, S, 3], and which of the S an image uses, bool [B, 1, S].

    The samples that an image does not use repeat its last one.
    """
    batch, (grid_h, grid_w), (most_x, most_y) = len(bins.counts), grid_hw, bins.most_xy
    counts_x, counts_y = bins.counts[:, :1], bins.counts[:, 1:]  # [B, 1]
    steps_x = torch.arange(most_x, device=counts_x.device)
    steps_y = torch.arange(most_y, device=counts_x.device)
    columns = torch.arange(grid_w, device=counts_x.device).view(1, -1, 1)
    rows = torch.arange(grid_h, device=counts_x.device).view(1, -1, 1)
    u = (columns + ((torch.minimum(steps_x, counts_x - 1) + 0.5) / counts_x).unsqueeze(1)) / grid_w
    v = (rows + ((torch.minimum(steps_y, counts_y - 1) + 0.5) / counts_y).unsqueeze(1)) / grid_h
    shape = (batch, grid_h, grid_w, most_y, most_x)
    u = u.view(batch, 1, grid_w, 1, most_x).expand(shape)
    v = v.view(batch, grid_h, 1, most_y, 1).expand(shape)
    uv1 = torch.stack((u, v, torch.ones_like(u)), dim=-1).view(batch, grid_h * grid_w, most_y * most_x, 3)
    used = (steps_y < counts_y).unsqueeze(2) & (steps_x < counts_x).unsqueeze(1)  # [B, most_y, most_x]
    return uv1, used.view(batch, 1, -1)


def _map_points(uv1: Tensor, affine: Tensor) -> Tensor:
    """Points [B, N, S, 3] moved by an affine [B, 2, 3] for each image."""
    return (uv1.flatten(1, 2) @ affine.transpose(1, 2)).unflatten(1, uv1.shape[1:3])


def _axis_weights(position: Tensor, window: int, size: int) -> tuple[Tensor, Tensor]:
    """Linear interpolation weights [B, N, S, window] along one axis, and the cells [B, N, window] they belong to."""
    first = position.amin(-1).floor().clamp(0, size - window)
    cells = first.unsqueeze(-1) + torch.arange(window, device=position.device)
    weights = (1 - (position.unsqueeze(-1) - cells.unsqueeze(2)).abs()).clamp(min=0)
    return weights, cells.long()
