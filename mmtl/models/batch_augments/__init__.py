"""Batch augmentations that mix images and their token labels."""

from mmtl.models.batch_augments.cut_mix import CutMix
from mmtl.models.batch_augments.mix_token import MixToken, TokenMix, mix_tokens

__all__ = ["CutMix", "MixToken", "TokenMix", "mix_tokens"]
