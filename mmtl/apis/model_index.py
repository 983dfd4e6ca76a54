"""Make the models of ``model-index.yml`` known by name to MMPretrain and MMSegmentation, for ``import mmtl``."""

import importlib
from collections.abc import Iterator
from types import ModuleType

from mmtl.utils.shipped_files import shipped_folder

ROOT = shipped_folder("configs").parent  # of the paths in the model index


def register_with_mmpretrain(model: ModuleType) -> None:
    """Let ``get_model``, ``list_models``, ``inference_model`` and the inferencers of MMPretrain know all models."""
    model.ModelHub.register_model_index(ROOT / "model-index.yml", config_prefix=ROOT)


def register_with_mmseg(inferencer: ModuleType) -> None:
    """Let ``MMSegInferencer`` know all segmentors, and read checkpoints as :mod:`mmtl.utils.checkpoint` does."""
    importlib.import_module("mmtl.utils.checkpoint")  # the inferencer reads weights before it builds the model
    base = inferencer.BaseInferencer
    find_models, mmseg_folder = base._get_models_from_metafile, base._get_repo_or_mim_dir("mmseg")

    def find_models_and_ours(folder: str) -> Iterator[dict]:
        yield from find_models(folder)
        if folder == mmseg_folder:
            for entry in find_models(str(ROOT)):
                if any(result["Task"] == "Semantic Segmentation" for result in entry.get("Results") or ()):
                    # An absolute path is not joined to the folder.
                    yield {"Weights": None, **entry, "Config": str(ROOT / entry["Config"])}

    base._get_models_from_metafile = staticmethod(find_models_and_ours)
