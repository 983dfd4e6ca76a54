"""The Runner of the recipes: ``runner_type="mmtl.Runner"``, which every train and test script of OpenMMLab builds."""

import copy
import os
from collections.abc import Mapping
from typing import Any

import mmengine.runner
from mmengine.config import Config
from mmengine.device import get_device
from torch import nn
from torch.utils.data import DataLoader

from mmtl.engine.freed_memory import keep_freed_memory
from mmtl.registry import RUNNERS
from mmtl.utils.config_file import leaf_dataset_cfgs
from mmtl.utils.config_variables import follow_variables

NO_DATA = (  # after the name of a folder
    "does not exist, the folder of a dataset. Put the data there, or set the folder of your data in the config, with "
    "--cfg-options data_root=FOLDER if it has this variable."
)
WORKER_OPTIONS = ("persistent_workers", "prefetch_factor", "multiprocessing_context", "timeout")


@RUNNERS.register_module()
class Runner(mmengine.runner.Runner):
    """MMEngine's Runner that applies changed variables of a config and names a data folder that does not exist.

    ``data_root``, ``score_maps`` and ``crop_size``, changed in a child config or on the command line, change the
    settings that were derived from them. With ``num_workers=0``, options of data loaders that are about workers are
    left out, as PyTorch would refuse them. Training on a CPU keeps the memory that it frees.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> mmengine.runner.Runner:
        """Build a Runner from a config in which variables have been applied."""
        cfg = copy.deepcopy(cfg)
        lines = follow_variables(cfg) if isinstance(cfg, Config) else []
        runner = super().from_cfg(cfg)
        for line in lines:
            runner.logger.info(line)
        return runner

    def train(self) -> nn.Module:
        """Train; see `keep_freed_memory`."""
        if get_device() == "cpu":
            keep_freed_memory()
        return super().train()

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args: Any, **kwargs: Any) -> DataLoader:
        """Build a data loader; raise an error with the remedy if it fails for want of its data folder."""
        if not isinstance(dataloader, Mapping):
            return mmengine.runner.Runner.build_dataloader(dataloader, *args, **kwargs)
        if not dataloader.get("num_workers"):
            dataloader = {key: value for key, value in dataloader.items() if key not in WORKER_OPTIONS}
        try:
            return mmengine.runner.Runner.build_dataloader(dataloader, *args, **kwargs)
        except Exception as error:
            if folder := missing_folder(dataloader):
                raise FileNotFoundError(f"{folder} {NO_DATA}") from error
            raise


def missing_folder(dataloader: Mapping) -> str | None:
    """Return a local folder that the datasets of a data loader's config name and that does not exist."""
    dataset = dataloader.get("dataset")
    for leaf in leaf_dataset_cfgs(dataset) if isinstance(dataset, Mapping) else ():
        root, prefix = leaf.get("data_root") or "", leaf.get("data_prefix") or ""
        prefixes = prefix.values() if isinstance(prefix, Mapping) else [prefix]
        for folder in [root, *(os.path.join(root, name) for name in prefixes if name is not None)]:
            if folder and "://" not in folder and not os.path.isdir(folder):
                return folder
    return None
