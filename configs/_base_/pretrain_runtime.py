# What every classification recipe shares: scope, hooks, log, seed. `mim train mmpretrain` runs it.
default_scope = "mmpretrain"
default_hooks = dict(
    timer=dict(type="mmtl.IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="mmtl.CheckpointHook", interval=1, max_keep_ckpts=2),
    exact_resume=dict(type="mmtl.ExactResumeHook"),
    skipped_images=dict(type="mmtl.CountSkippedImagesHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="VisualizationHook", enable=False),
    token_labels=dict(type="mmtl.TokenLabelVisualizationHook", interval=10),  # epochs
    without_score_maps=dict(type="mmtl.WithoutScoreMapsHook"),
    check_inputs=dict(type="mmtl.CheckInputsHook"),
    pretrained_weights=dict(type="mmtl.PretrainedWeightsHook"),  # logs what load_from took of a checkpoint
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
# The second place is for TensorBoard: --cfg-options visualizer.vis_backends.1.type=TensorboardVisBackend
vis_backends = [dict(type="LocalVisBackend"), dict(type="mmtl.NoVisBackend")]
visualizer = dict(type="UniversalVisualizer", vis_backends=vis_backends)
# Of these the log shows the mean of the last ten iterations.
# (A validation's "accuracy/top1" is no such value.)
log_processor = dict(mean_pattern=r".*(loss|time|grad_norm|accuracy_|images_per_s).*")
randomness = dict(seed=0)
log_level = "INFO"
load_from = None
resume = False
