"""Which cells of a score map each token reads: RoIAlign's bins, samples and bilinear weights, through an affine.

Everything that depends on the image but not on the token is computed by NumPy on the host, from affines that are still
on the CPU. It determines every shape, so that neither host nor device waits for the other. Upright batches, the common
case, need nothing else: their windows are products of rows and columns.
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
    """Samples of all bins: their places along the grid's axes u and v, and the affines that move them.

    Row 0 of the affines leads to cells from the map's center, the others to unit squares from the frames' centers. A
    sample within the limits of all of them is inside.
    """

    affines: np.ndarray  # float64 [B, 1 + F, 2, 3], from the unit square of the network's input
    limits: np.ndarray  # float64 [1 + F, 2]
    places_u: np.ndarray  # float64 [B, grid w, Su], in 0 to 1
    places_v: np.ndarray  # float64 [B, grid h, Sv]
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
    frames = [] if frame_affines is None else [_to_numpy(frame_affines)]
    affines = np.concatenate((_to_numpy(view_affine)[:, None], *frames), axis=1)  # [B, 1 + F, 2, 3]
    cells_xy, bins_uv = np.array(map_hw[::-1], dtype=float), np.array(grid_hw[::-1], dtype=float)
    sides = affines[:, 0, :, :2] * cells_xy[:, None] / bins_uv  # [B, xy, uv], the sides of a bin in cells
    counts, samples_uv, window_xy = _sizes(np.concatenate((np.diag(cells_xy / bins_uv)[None], sides)), cells_xy)
    limits = np.full(affines.shape[1:3], 0.5)
    limits[0] = (cells_xy + 1) / 2 + 1e-6  # half a cell beyond the border; a sample on that edge is inside
    affines[..., 2] -= 0.5
    affines[:, 0] *= cells_xy[:, None]
    (places_u, share_u), (places_v, share_v) = map(_bin_samples, samples_uv, grid_hw[::-1], counts.T[..., None])
    samples = _Samples(affines, limits, places_u, places_v, share_u, share_v)
    tilted = affines[..., 0, 1].any() or affines[..., 1, 0].any()
    return (_turned_windows if tilted else _upright_windows)(samples, map_hw, window_xy, device)


def _to_numpy(affine: Tensor) -> np.ndarray:
    return affine.numpy(force=True).astype(np.float64)


def _sizes(sides: np.ndarray, cells_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each image's samples per bin [B, uv], and for the batch the samples per bin (u, v) and window (x, y).

    Args:
        sides: sides of a bin in cells [1 + B, xy, uv], first those of the uncropped image.
        cells_xy: cells of the map.
    """
    # A side of 1 cell that arithmetic made 1 + 1e-9 still takes one sample.
    counts = np.ceil(np.linalg.norm(sides, axis=1) - 1e-6).clip(1)
    # The first and the last sample of a bin are (1 - 1 / count) of its sides apart.
    spans = (np.abs(sides) * (1 - 1 / counts)[:, None]).sum(2)
    windows = _static_size(np.ceil(spans - 1e-6) + 2).clip(max=cells_xy.astype(int))
    return counts[1:], _static_size(counts), windows


def _static_size(sizes: np.ndarray) -> np.ndarray:
    """Return one size for all images of [1 + B, 2], of few distinct values, as each shape is compiled once.

    It is the first one, the uncropped image's, which holds for every crop, or (turned and padded images) a power of
    two. Surplus samples and cells get weight 0.
    """
    largest = sizes.max(0)
    return np.where(largest <= sizes[0], sizes[0], 2 ** np.ceil(np.log2(largest))).astype(int)


def _bin_samples(num_samples: int, num_bins: int, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place the samples of all bins along one axis; those that an image does not use repeat its last one.

    Args:
        num_samples: samples per bin of the batch, S.
        num_bins: bins along the axis.
        count: samples per bin of each image, [B, 1].

    Returns:
        Places [B, bins, S] in 0 to 1, and each sample's share in its bin [B, S].
    """
    steps = np.arange(num_samples)
    within_bin = (np.minimum(steps, count - 1) + 0.5) / (count * num_bins)
    return np.arange(num_bins)[:, None] / num_bins + within_bin[:, None], (steps < count) / count


def _upright_windows(
    samples: _Samples, map_hw: tuple[int, int], window_xy: np.ndarray, device: torch.device | str
) -> MapWindows:
    """Compute windows if x depends on u only and y on v only: products of an interval of columns and one of rows."""
    affines, limits = samples.affines[..., None, None], samples.limits.T[..., None, None]
    x = affines[:, :, 0, 0] * samples.places_u[:, None] + affines[:, :, 0, 2]  # [B, 1 + F, grid w, Su]
    y = affines[:, :, 1, 1] * samples.places_v[:, None] + affines[:, :, 1, 2]
    columns, weights_x = _axis_windows(x, samples.share_u, limits[0], map_hw[1], window_xy[0])
    rows, weights_y = _axis_windows(y, samples.share_v, limits[1], map_hw[0], window_xy[1])
    rows = (rows + map_hw[0] * np.arange(len(rows))[:, None, None]) * map_hw[1]  # of all images
    columns, weights_x = (to_device(part[:, None, :, None, :], device) for part in (columns, weights_x))
    rows, weights_y = (to_device(part[:, :, None, :, None], device) for part in (rows, weights_y))
    return MapWindows(rows + columns, weights_y * weights_x)


def _axis_windows(
    positions: np.ndarray, share: np.ndarray, limits: np.ndarray, size: int, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells and weights [B, bins, window] along one axis for positions [B, 1 + F, bins, S]."""
    share = share[:, None] * (np.abs(positions) <= limits).all(1)  # [B, bins, S]
    clipped = (positions[:, 0] + (size - 1) / 2).clip(0, size - 1)  # the first cell's center is at 0
    # A bin's samples are in order, from either end. NumPy's own reductions of such short axes are slow.
    lowest = np.minimum(clipped[..., 0], clipped[..., -1])
    first = np.floor(lowest).clip(max=size - window)[..., None]  # [B, bins, 1]
    cells = first + np.arange(window)
    weights = (1 - np.abs(clipped[..., None] - cells[:, :, None])).clip(0)  # [B, bins, S, window]
    return cells.astype(np.int64), np.einsum("bnsw,bns->bnw", weights, share).astype(np.float32)


def _turned_windows(
    samples: _Samples, map_hw: tuple[int, int], window_xy: np.ndarray, device: torch.device | str
) -> MapWindows:
    """Compute windows of a batch with turned or sheared images."""
    affines = samples.affines[..., None, None, None, None]  # [B, 1 + F, 2, 3, grid h, grid w, Sv, Su]
    along_u = affines[:, :, :, 0] * samples.places_u[:, None, None, None, :, None]
    along_v = affines[:, :, :, 1] * samples.places_v[:, None, None, :, None, :, None] + affines[:, :, :, 2]
    share = (samples.share_v[:, None, None, :, None] * samples.share_u[:, None, None, None]).astype(np.float32)
    positions = to_device(along_u, device) + to_device(along_v, device)  # [B, 1 + F, 2, grid h, grid w, Sv, Su]
    limits = to_device(samples.limits[..., None, None, None, None], device)
    share = to_device(share, device) * (positions.abs() <= limits).all(dim=(1, 2))
    last = np.array(map_hw[::-1], dtype=float).reshape(1, 2, 1, 1, 1, 1) - 1
    bounds = np.stack((last / 2, last, last + 1 - window_xy.reshape(last.shape)))
    middle, last, last_first = to_device(bounds, device).unbind()
    positions = (positions[:, 0] + middle).clamp(min=0).minimum(last)
    first = positions.amin((-2, -1), keepdim=True).floor_().minimum(last_first)  # [B, 2, grid h, grid w, 1, 1]
    # Measured from the window's first cell, positions are small numbers, which float32 holds exactly enough.
    offsets = (positions - first).float().flatten(-2).unsqueeze(-1)  # [B, 2, grid h, grid w, S, 1]
    steps = torch.arange(int(max(window_xy)), device=device)
    along_x, along_y = (1 - (offsets - steps).abs_()).clamp_(min=0).unbind(1)  # [B, grid h, grid w, S, window]
    along_x, along_y = along_x[..., : window_xy[0]], along_y[..., : window_xy[1]] * share.flatten(-2).unsqueeze(-1)
    # Sum over the samples. Not a matrix product, which autocast and TF32 would round.
    weights = (along_y.unsqueeze(-1) * along_x.unsqueeze(-2)).sum(-3)
    columns, rows = first.long().unbind(1)
    images = map_hw[0] * np.arange(len(samples.share_u)).reshape(-1, 1, 1, 1, 1)
    window = (images + np.arange(window_xy[1])[:, None]) * map_hw[1] + np.arange(window_xy[0])
    return MapWindows(rows * map_hw[1] + columns + to_device(window, device), weights)
