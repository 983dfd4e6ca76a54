"""The score map package needs NumPy and nothing else."""

import subprocess
import sys

BLOCKED = ("torch", "mmengine", "mmcv", "mmpretrain", "mmseg", "cv2", "matplotlib", "rich", "PIL", "timm")

USE_A_STORE = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2].split(","):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Refuse())
import numpy as np
import mmtl.score_maps
for module in pkgutil.iter_modules(mmtl.score_maps.__path__, "mmtl.score_maps."):
    importlib.import_module(module.name)
from mmtl.score_maps import ScoreMap, ScoreMapStore, ScoreMapWriter

scores = np.array([[[2.0, 1.0]]], np.float16)
with ScoreMapWriter(sys.argv[1], num_classes=5, grid_hw=(1, 1), topk=2) as writer:
    writer.add("a.png", ScoreMap(scores, np.array([[[3, 0]]]), np.array([[3.0]])))
store = ScoreMapStore(sys.argv[1])
assert store.verify() == [] and (store["a.png"].scores == scores).all()
from mmtl.score_maps.stats import store_stats
assert store_stats(store, ["a.png"]).maps == 1
print("done")
"""


def test_a_store_is_written_and_read_where_only_numpy_can_be_imported(tmp_path):
    command = [sys.executable, "-c", USE_A_STORE, str(tmp_path / "s"), ",".join(BLOCKED)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr
