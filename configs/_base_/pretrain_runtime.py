# Runtime of the classification recipes, for `mim train mmpretrain`.
_base_ = "runtime.py"
default_scope = "mmpretrain"
default_hooks = dict(
    checkpoint=dict(interval=1, save_best="accuracy/top1"),  # epochs
    visualization=dict(type="VisualizationHook", enable=False),
    token_labels=dict(type="mmtl.TokenLabelVisualizationHook", interval=10),  # epochs
    without_score_maps=dict(type="mmtl.WithoutScoreMapsHook"),
    check_inputs=dict(type="mmtl.CheckInputsHook"),
)
visualizer = dict(type="UniversalVisualizer")
# The log shows the means of these values over its interval. A validation's "accuracy/top1" does not match.
log_processor = dict(mean_pattern=r".*(loss|time|grad_norm|accuracy_).*")
