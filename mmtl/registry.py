"""Child registries of scope ``mmtl``: ``type='mmtl.LVViT'`` works under the default scope of mmpretrain and mmseg.

Keep this file free of other imports: mmengine swallows an ImportError raised here.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry, build_runner_from_cfg
from mmpretrain.registry import BATCH_AUGMENTS as MMPRETRAIN_BATCH_AUGMENTS

MODELS = Registry("model", parent=MMENGINE_MODELS, scope="mmtl", locations=["mmtl.models"])
# The models' layer cannot import the annotators, which are above it: it gets them from here.
ANNOTATORS = Registry("annotator", scope="mmtl", locations=["mmtl.annotators.online"])
BATCH_AUGMENTS = Registry(
    "batch augment", parent=MMPRETRAIN_BATCH_AUGMENTS, scope="mmtl", locations=["mmtl.models.batch_augments"]
)
FUNCTIONS = Registry("function", parent=MMENGINE_FUNCTIONS, scope="mmtl", locations=["mmtl.models"])
DATASETS = Registry(
    "dataset",
    parent=MMENGINE_DATASETS,
    scope="mmtl",
    locations=["mmtl.datasets", "mmtl.datasets.segmentation_datasets"],  # the second loads MMSegmentation's data sets
)
TRANSFORMS = Registry("transform", parent=MMENGINE_TRANSFORMS, scope="mmtl", locations=["mmtl.datasets.transforms"])
HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope="mmtl", locations=["mmtl.engine.hooks"])
RUNNERS = Registry(
    "runner",
    build_func=build_runner_from_cfg,
    parent=MMENGINE_RUNNERS,
    scope="mmtl",
    locations=["mmtl.engine.runner"],
)
METRICS = Registry("metric", parent=MMENGINE_METRICS, scope="mmtl", locations=["mmtl.evaluation"])
VISBACKENDS = Registry("vis_backend", parent=MMENGINE_VISBACKENDS, scope="mmtl", locations=["mmtl.visualization"])
VISUALIZERS = Registry(
    "visualizer", parent=MMENGINE_VISUALIZERS, scope="mmtl", locations=["mmtl.visualization.seg_local_visualizer"]
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optim wrapper constructor",
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope="mmtl",
    locations=["mmtl.engine.optim"],
)
OPTIM_WRAPPERS = Registry(
    "optim wrapper", parent=MMENGINE_OPTIM_WRAPPERS, scope="mmtl", locations=["mmtl.engine.optim"]
)
