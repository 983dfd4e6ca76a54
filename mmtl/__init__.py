"""Token labeling, MixToken and LV-ViT for MMPretrain and MMSegmentation.

``import mmtl`` imports neither. Once they are imported, before or after it, they know the models of this project by
name: ``mmpretrain.get_model("lvvit-small_8xb128-tokenlabel-300e_in1k", pretrained=True)``.
"""

from mmtl.utils.after_import import run_after_import
from mmtl.utils.upstream_messages import ignore_harmless_warnings

__version__ = "0.1.0"

ignore_harmless_warnings()
run_after_import("mmengine.logging.logger", "mmtl.utils.upstream_messages:adapt_logging")
run_after_import("mmpretrain.apis.model", "mmtl.apis.model_index:register_with_mmpretrain")
run_after_import("mmseg.apis.mmseg_inferencer", "mmtl.apis.model_index:register_with_mmseg")
