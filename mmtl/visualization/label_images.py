"""Images of labels: uint8 RGB arrays in, uint8 RGB arrays out."""

import cv2
import numpy as np

WHITE = (255, 255, 255)  # no label


def blend_colors(probabilities: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Color every cell by its label distribution: the classes' colors in proportion, white for the rest.

    Args:
        probabilities: [h, w, K], summing to at most 1 over K.
        palette: RGB, uint8 [K, 3].

    Returns:
        np.ndarray: uint8 [h, w, 3].
    """
    rest = 1 - probabilities.sum(-1, keepdims=True)
    return np.clip(probabilities @ palette.astype(float) + rest * np.array(WHITE), 0, 255).round().astype(np.uint8)


def enlarge(cells: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """Enlarge [h, w, ...] to [H, W, ...], every cell a block of one value."""
    return cv2.resize(cells, image_hw[::-1], interpolation=cv2.INTER_NEAREST)


def lay_over(image: np.ndarray, cells: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Lay colored cells over the image in gray.

    Args:
        image: uint8 [H, W, 3].
        cells: uint8 [h, w, 3], covering the entire image.
        opacity: share of the cells in the result, 0 to 1.
    """
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(enlarge(cells, image.shape[:2]), opacity, gray, 1 - opacity, 0)


def paint_mask(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paint class indices uint8 [H, W] in the colors of ``palette`` [K, 3]; indices beyond it become white."""
    table = np.full((256, 3), WHITE, np.uint8)
    table[: len(palette)] = palette
    return table[mask]


def mix_patches(image: np.ndarray, partner: np.ndarray, stays_hw: np.ndarray) -> np.ndarray:
    """Show MixToken on pixels: patches of ``image`` where ``stays_hw``, those of ``partner`` elsewhere.

    Args:
        image: uint8 [H, W, 3].
        partner: uint8 [H, W, 3].
        stays_hw: bool [h, w], the mask over the token grid.
    """
    stays = enlarge(stays_hw.astype(np.uint8), image.shape[:2]).astype(bool)
    return np.where(stays[..., None], image, partner)
