"""Which cells of a score map each token reads: RoIAlign's bins, samples and bilinear weights, through an affine.

Everything that depends on the image but not on the token is computed by NumPy on the host, from affines that are still
on the CPU. It determines every shape, so that neither host nor device waits for the other.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtl.utils.to_device import to_device


class MapWindows(NamedTuple):
    """The cells of the score maps that each token reads, with the weight of each cell.

    Args:
        cells: int64 [B, grid h, grid w, window h, window w], indices into the B * h * w cells of all maps, image by
            image, row by row.
        weights: float32 of the same shape, zero where a cell of the window is not touched. They sum to 1 for a token
            inside the image, otherwise to the share of its samples that are inside.
    """

    cells: Tensor
    weights: Tensor


class _Samples(NamedTuple):
    """Samples of all bins as sums over the grid's axes u and v: position = along_u + along_v.

    Row 0 is the position in cells. The others, one for the map and one per frame, are inside if at most 0.5 from 0.
    """

    along_u: np.ndarray  # float64 [B, 2 + F, 2, grid w, Su], last but two: axes x, y of the map
    along_v: np.ndarray  # float64 [B, 2 + F, 2, grid h, Sv]
    share_u: np.ndarray  # float64 [B, Su], share of each sample in its bin; 0 for samples that an image does not use
    share_v: np.ndarray  # float64 [B, Sv]


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
        map_hw: cells of the score map (h, w); the map covers the full image.
        grid_hw: token grid (h, w).
        device: device of the result; None means that of ``view_affine``.
        frame_affines: [B, F, 2, 3], from the unit square of the network's input to unit squares that a sample must be
            inside to count, as :class:`mmtl.PackTokenLabelInputs` packs them. Read on the host as well.

    Convention:
        xy_order: the affine acts on (x, y), x to the right, y down.
        cell_centers: cell (row i, column j) of the map has its center at ((j + 0.5) / w, (i + 0.5) / h).
    """
    device = view_affine.device if device is None else device
    affines = _to_numpy(view_affine)[:, None].repeat(2, axis=1)  # position, inside the map
    if frame_affines is not None:
        affines = np.concatenate((affines, _to_numpy(frame_affines)), axis=1)
    cells_xy, bins_uv = np.array(map_hw[::-1], dtype=float), np.array(grid_hw[::-1], dtype=float)
    sides = affines[:, 0, :, :2] * cells_xy[:, None] / bins_uv  # [B, xy, uv], the sides of a bin in cells
    # A side of 1 cell that arithmetic made 1 + 1e-9 still takes one sample.
    counts = np.ceil(np.linalg.norm(sides, axis=1) - 1e-6).clip(1)  # [B, uv]
    samples_uv, window_xy = _static_sizes(sides, counts, cells_xy, bins_uv)
    samples = _separable_samples(_scale(affines, cells_xy), counts, samples_uv, grid_hw)
    tilted = affines[..., 0, 1].any() or affines[..., 1, 0].any()
    return (_turned_windows if tilted else _upright_windows)(samples, map_hw, window_xy, device)


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


def _scale(affines: np.ndarray, cells_xy: np.ndarray) -> np.ndarray:
    """Scale affines [B, 2 + F, 2, 3]: the first to cells, the others so that inside means at most 0.5 from 0."""
    scale, shift = np.ones((affines.shape[1], 2)), np.full((affines.shape[1], 2), -0.5)
    scale[0] = cells_xy  # the first cell's center is at 0
    # Inside the map: at most half a cell beyond its border; a sample on that edge is inside, whatever the rounding.
    scale[1] = cells_xy / (cells_xy + 1 + 2e-6)
    shift[1] = -scale[1] / 2
    scaled = affines * scale[..., None]
    scaled[..., 2] += shift
    return scaled


def _separable_samples(
    affines: np.ndarray, counts: np.ndarray, samples_uv: tuple[int, int], grid_hw: tuple[int, int]
) -> _Samples:
    """Place the samples of all bins; those that an image does not use repeat its last one."""
    places, shares = [], []
    for num_samples, num_bins, count in zip(samples_uv, grid_hw[::-1], counts.T[..., None], strict=True):
        steps = np.arange(num_samples)
        within_bin = (np.minimum(steps, count - 1) + 0.5) / count  # [B, S]
        places.append((np.arange(num_bins)[:, None] + within_bin[:, None]) / num_bins)  # [B, bins, S]
        shares.append((steps < count) / count)
    linear = affines[..., None, None]
    along_u = linear[:, :, :, 0] * places[0][:, None, None]
    along_v = linear[:, :, :, 1] * places[1][:, None, None] + linear[:, :, :, 2]
    return _Samples(along_u, along_v, *shares)


def _upright_windows(
    samples: _Samples, map_hw: tuple[int, int], window_xy: tuple[int, int], device: torch.device | str
) -> MapWindows:
    """Compute windows if x depends on u only and y on v only: products of an interval of columns and one of rows."""
    # The offset of x is in along_v, where it is the same for all rows.
    x = samples.along_u[:, :, 0] + samples.along_v[:, :, 0, :1, :1]
    axes = []
    for positions, share, size, window in (
        (x, samples.share_u, map_hw[1], window_xy[0]),
        (samples.along_v[:, :, 1], samples.share_v, map_hw[0], window_xy[1]),
    ):
        share = share[:, None] * (np.abs(positions[:, 1:]) <= 0.5).all(1)  # [B, bins, S]
        clipped = positions[:, 0].clip(0, size - 1)
        first = np.floor(clipped.min(-1)).clip(max=size - window)[..., None]  # [B, bins, 1]
        cells = first + np.arange(window)
        weights = (1 - np.abs(clipped[..., None] - cells[:, :, None])).clip(0)  # [B, bins, S, window]
        axes.append((cells.astype(np.int64), (weights * share[..., None]).sum(-2).astype(np.float32)))
    (columns, weights_x), (rows, weights_y) = axes
    rows = (rows + map_hw[0] * np.arange(len(rows))[:, None, None]) * map_hw[1]  # of all images
    columns, weights_x = (to_device(part[:, None, :, None, :], device) for part in (columns, weights_x))
    rows, weights_y = (to_device(part[:, :, None, :, None], device) for part in (rows, weights_y))
    return MapWindows(rows + columns, weights_y * weights_x)


def _turned_windows(
    samples: _Samples, map_hw: tuple[int, int], window_xy: tuple[int, int], device: torch.device | str
) -> MapWindows:
    """Compute windows of a batch with turned or sheared images."""
    along_u, along_v = samples.along_u[:, :, :, None, :, None], samples.along_v[:, :, :, :, None, :, None]
    share = (samples.share_v[:, None, None, :, None] * samples.share_u[:, None, None, None]).astype(np.float32)
    positions = to_device(along_u, device) + to_device(along_v, device)  # [B, 2 + F, 2, grid h, grid w, Sv, Su]
    share = to_device(share, device) * (positions[:, 1:].abs() <= 0.5).all(dim=(1, 2))
    sizes = np.array(map_hw[::-1], dtype=float).reshape(1, 2, 1, 1, 1, 1)
    last, last_first = (to_device(limit, device) for limit in (sizes - 1, sizes - np.reshape(window_xy, sizes.shape)))
    positions = positions[:, 0].clamp(min=0).minimum(last)
    first = positions.amin((-2, -1), keepdim=True).floor_().minimum(last_first)  # [B, 2, grid h, grid w, 1, 1]
    # Measured from the window's first cell, positions are small numbers, which float32 holds exactly enough.
    offsets = (positions - first).float().flatten(-2).unsqueeze(-1)  # [B, 2, grid h, grid w, S, 1]
    steps = torch.arange(max(window_xy), device=device)
    along_x, along_y = (1 - (offsets - steps).abs_()).clamp_(min=0).unbind(1)  # [B, grid h, grid w, S, window]
    along_x, along_y = along_x[..., : window_xy[0]], along_y[..., : window_xy[1]] * share.flatten(-2).unsqueeze(-1)
    # Sum over the samples. Not a matrix product, which autocast and TF32 would round.
    weights = (along_y.unsqueeze(-1) * along_x.unsqueeze(-2)).sum(-3)
    columns, rows = first.long().unbind(1)
    images = map_hw[0] * np.arange(len(samples.share_u)).reshape(-1, 1, 1, 1, 1)
    window = (images + np.arange(window_xy[1])[:, None]) * map_hw[1] + np.arange(window_xy[0])
    return MapWindows(rows * map_hw[1] + columns + to_device(window, device), weights)
