"""Images of labels: uint8 RGB arrays in, uint8 RGB arrays out."""

import cv2
import numpy as np


def blend_colors(probabilities: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Color cells by their probabilities [h, w, K]: the palette's colors in proportion, white for the rest to 1."""
    rest = 1 - probabilities.sum(-1, keepdims=True)
    return np.clip(probabilities @ palette.astype(float) + rest * 255, 0, 255).round().astype(np.uint8)


def enlarge(cells: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """Enlarge [h, w, ...] to [H, W, ...], every cell a block of one value."""
    return cv2.resize(cells, image_hw[::-1], interpolation=cv2.INTER_NEAREST)


def lay_over(image: np.ndarray, cells: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Lay colored cells, uint8 [h, w, 3], that cover an image [H, W, 3] over it in gray."""
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(enlarge(cells, image.shape[:2]), opacity, gray, 1 - opacity, 0)


def mix_patches(image: np.ndarray, partner: np.ndarray, stays_hw: np.ndarray) -> np.ndarray:
    """Show MixToken on pixels: patches of ``image`` [H, W, 3] where the mask [h, w] is True, else the partner's."""
    stays = enlarge(stays_hw.astype(np.uint8), image.shape[:2]).astype(bool)
    return np.where(stays[..., None], image, partner)
