"""Which cells of a score map each token reads: RoIAlign's bins, samples and bilinear weights, through an affine.

Everything that depends on the image but not on the token (a few numbers per image) is computed by NumPy on the host,
from affines that are still on the CPU. It determines every shape, so that neither host nor device waits for the other.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class MapWindows(NamedTuple):
    """The cells of a score map that each token reads, with the weight of each cell.

    Args:
        cells: int64 [B, N, W], indices into the h * w cells of the map, row by row.
        weights: float32 [B, N, W], zero where a cell of the window is not touched. They sum to 1 for a token inside
            the image, otherwise to the share of its samples that are inside.
    """

    cells: Tensor
    weights: Tensor


class _Bins(NamedTuple):
    """Sizes shared by a batch; u, v are the axes of the token grid, x, y those of the score map."""

    cells_xy: np.ndarray  # cells of the map
    bins_uv: np.ndarray  # tokens of the grid
    samples_uv: tuple[int, int]  # samples of a bin, at least the largest count of the batch
    window_xy: tuple[int, int]  # cells that hold all samples of any bin of the batch


def map_windows(
    view_affine: Tensor,
    map_hw: tuple[int, int],
    grid_hw: tuple[int, int],
    device: torch.device | str | None = None,
    frame_affines: Tensor | None = None,
) -> MapWindows:
    """Read the bins of the token grid by RoIAlign's rule through an affine.

    Each bin takes ceil(length in cells) samples along each of its sides, spread evenly; a sample interpolates
    bilinearly between cell centers. A sample more than half a cell outside the map counts as nothing; a nearer one
    takes the border's value. For an upright crop this is ``torchvision.ops.roi_align(aligned=True)``.

    Args:
        view_affine: [B, 2, 3], from the unit square of the network's input to that of the original image. Read on
            the host: keep it on the CPU to avoid a synchronization.
        map_hw: cells of the score map (h, w); the map covers the whole image.
        grid_hw: token grid (h, w).
        device: device of the result; None means that of ``view_affine``.
        frame_affines: [B, F, 2, 3], from the unit square of the network's input to unit squares that a sample must be
            inside to count, as :class:`mmtl.PackTokenLabelInputs` packs them. Read on the host as well.

    Returns:
        MapWindows: with N = product of ``grid_hw``.

    Convention:
        xy_order: the affine acts on (x, y), x to the right, y down.
        row_major: token n is at row n // w and column n % w of the grid.
        cell_centers: cell (row i, column j) of the map has its center at ((j + 0.5) / w, (i + 0.5) / h).
    """
    device = view_affine.device if device is None else device
    affines = (
        [_to_numpy(view_affine)[:, None]]
        if frame_affines is None
        else [
            _to_numpy(view_affine)[:, None],
            _to_numpy(frame_affines),
        ]
    )
    affines = np.concatenate((affines[0], *affines), axis=1)  # [B, 2 + F, 2, 3]: position, inside the map, frames
    cells_xy, bins_uv = np.array(map_hw[::-1], dtype=float), np.array(grid_hw[::-1], dtype=float)
    sides = affines[:, 0, :, :2] * cells_xy[:, None] / bins_uv  # [B, xy, uv], the sides of a bin in cells
    # A side of 1 cell that arithmetic made 1 + 1e-9 still takes one sample.
    counts = np.ceil(np.linalg.norm(sides, axis=1) - 1e-6).clip(1)  # [B, uv]
    bins = _Bins(cells_xy, bins_uv, *_static_sizes(sides, counts, cells_xy, bins_uv))
    along_u, along_v, shares = _separable_samples(_move_origin(affines, cells_xy), counts, bins)
    return _combine(*(send(torch.from_numpy(part), device) for part in (along_u, along_v, shares)), bins)


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor to a device without waiting where that is safe: the CPU would read it too early."""
    return tensor.to(device, non_blocking=torch.device(device).type != "cpu")


def _to_numpy(affine: Tensor) -> np.ndarray:
    return affine.numpy(force=True).astype(np.float64)


def _static_sizes(
    sides: np.ndarray, counts: np.ndarray, cells_xy: np.ndarray, bins_uv: np.ndarray
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the samples per bin (u, v) and the cells per window (x, y): few distinct values, so few distinct shapes.

    They are at least what a bin of the uncropped image needs, which holds for every crop, and beyond that (turned or
    padded images) powers of two. Surplus samples and cells get weight 0.
    """
    # The first and the last sample of a bin are (1 - 1 / count) of its sides apart.
    spans = (np.abs(sides) * (1 - 1 / counts)[:, None]).sum(2)  # [B, xy]
    largest = cells_xy / bins_uv
    least_counts = np.ceil(largest - 1e-6).clip(1)
    least_spans = largest * (1 - 1 / least_counts)
    samples = _round_up(counts, least_counts)
    windows = _round_up(np.ceil(spans - 1e-6) + 2, np.ceil(least_spans - 1e-6) + 2)
    return samples, tuple(min(window, int(size)) for window, size in zip(windows, cells_xy, strict=True))


def _round_up(sizes: np.ndarray, least: np.ndarray) -> tuple[int, int]:
    """Largest size of a batch [B, 2] along both axes: the least one if it suffices, else the next power of two."""
    largest = sizes.max(0, initial=1)
    return tuple(
        int(low if size <= low else 2 ** np.ceil(np.log2(size))) for size, low in zip(largest, least, strict=True)
    )


def _move_origin(affines: np.ndarray, cells_xy: np.ndarray) -> np.ndarray:
    """Scale affines [B, 2 + F, 2, 3]: the first to cells, the others so that inside means at most 0.5 from 0."""
    scale, shift = np.ones((affines.shape[1], 2)), np.full((affines.shape[1], 2), -0.5)
    scale[0] = cells_xy  # the first cell's center is at 0
    # Inside the map: at most half a cell beyond its border; a sample on that edge is inside, whatever the rounding.
    scale[1] = cells_xy / (cells_xy + 1 + 2e-6)
    shift[1] = -scale[1] / 2
    moved = affines * scale[..., None]
    moved[..., 2] += shift
    return moved


def _separable_samples(affines: np.ndarray, counts: np.ndarray, bins: _Bins) -> tuple[np.ndarray, ...]:
    """Samples of all bins as sums: position = along_u [.., grid w, Su] + along_v [.., grid h, Sv].

    Returns:
        tuple: along_u [B, 2 + F, 2, grid w, Su], along_v [B, 2 + F, 2, grid h, Sv] and the share of each sample in its
        bin, float32 [B, Sv * Su]. Samples that an image does not use repeat its last one and have share 0.
    """
    places, shares = [], []
    for axis, num_samples in enumerate(bins.samples_uv):
        steps, count = np.arange(num_samples), counts[:, axis, None]
        within_bin = (np.minimum(steps, count - 1) + 0.5) / count  # [B, S]
        num_bins = int(bins.bins_uv[axis])
        places.append((np.arange(num_bins)[:, None] + within_bin[:, None]) / num_bins)  # [B, bins, S]
        shares.append((steps < count) / count)
    linear = affines[..., None, None]
    along_u = linear[:, :, :, 0] * places[0][:, None, None]
    along_v = linear[:, :, :, 1] * places[1][:, None, None] + linear[:, :, :, 2]
    share = (shares[1][:, :, None] * shares[0][:, None, :]).astype(np.float32)
    return along_u, along_v, share.reshape(len(share), share.shape[1] * share.shape[2])


def _combine(along_u: Tensor, along_v: Tensor, shares: Tensor, bins: _Bins) -> MapWindows:
    """Windows of all tokens, from the samples of :func:`_separable_samples`."""
    samples = (along_u[:, :, :, None, :, None] + along_v[:, :, :, :, None, :, None]).flatten(
        5
    )  # [.., grid h, grid w, S]
    inside = (samples[:, 1:].abs() <= 0.5).flatten(1, 2).all(1)
    shares = shares[:, None, None] * inside  # [B, grid h, grid w, S]
    (map_w, map_h), (window_w, window_h) = (int(size) for size in bins.cells_xy), bins.window_xy
    first_x, weights_x = _axis_weights(samples[:, 0, 0], map_w, window_w)
    first_y, weights_y = _axis_weights(samples[:, 0, 1], map_h, window_h)
    # Sum over the samples. Not a matrix product, which autocast and TF32 would round.
    weights_y = weights_y * shares.unsqueeze(-1)
    weights = (weights_y.unsqueeze(-1) * weights_x.unsqueeze(-2)).sum(-3)
    steps = torch.arange(window_h * map_w, device=shares.device).view(window_h, map_w)[:, :window_w].flatten()
    cells = (first_y * map_w + first_x).unsqueeze(-1) + steps  # [B, grid h, grid w, W]
    return MapWindows(cells.flatten(1, 2), weights.flatten(3).flatten(1, 2))


def _axis_weights(positions: Tensor, size: int, window: int) -> tuple[Tensor, Tensor]:
    """Interpolate linearly along an axis of ``size`` cells.

    Args:
        positions: float64 [B, h, w, S], of the samples, in cells.
        size: cells of the map.
        window: cells of the window.

    Returns:
        tuple: first cell of each window, int64 [B, h, w], and weights float32 [B, h, w, S, window].
    """
    positions = positions.clamp(0, size - 1)
    first = positions.amin(-1).floor_().clamp_(max=size - window)
    # Measured from the window's first cell, positions are small numbers, which float32 holds exactly enough.
    offsets = (positions - first.unsqueeze(-1)).float()
    steps = torch.arange(window, device=positions.device)
    return first.long(), (offsets.unsqueeze(-1) - steps).abs_().neg_().add_(1).clamp_(min=0)
