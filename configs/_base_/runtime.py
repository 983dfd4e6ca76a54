# What every recipe shares: environment, log and seed.
runner_type = "mmtl.Runner"  # data_root, score_maps and crop_size, changed by options or child configs, are applied
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
# The second backend can be TensorBoard: --cfg-options visualizer.vis_backends.1.type=TensorboardVisBackend
vis_backends = [dict(type="LocalVisBackend"), dict(type="mmtl.NoVisBackend")]
visualizer = dict(vis_backends=vis_backends)
randomness = dict(seed=0)
log_level = "INFO"
load_from = None
resume = False
log_interval = 50  # iterations; times are right only as means over an interval: iterations do not wait for the GPU
log_processor = dict(window_size=log_interval)
default_hooks = dict(
    runtime_info=dict(type="mmtl.RuntimeInfoHook"),  # fetches logged values once per logging interval
    timer=dict(type="mmtl.IterTimerHook"),
    logger=dict(type="LoggerHook", interval=log_interval),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="mmtl.CheckpointHook", max_keep_ckpts=2),  # the last two and the best
    check_settings=dict(type="mmtl.CheckSettingsHook"),
    finite_loss=dict(type="mmtl.FiniteLossHook"),  # action="skip" skips steps that are NaN instead of stopping
    compile=dict(type="mmtl.CompileHook"),  # --cfg-options compile=True compiles the model
    exact_resume=dict(type="mmtl.ExactResumeHook"),
    skipped_images=dict(type="mmtl.CountSkippedImagesHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    pretrained_weights=dict(type="mmtl.PretrainedWeightsHook"),  # logs what load_from loaded from a checkpoint
    run_summary=dict(type="mmtl.RunSummaryHook"),  # a box before the first step: data, labels, weights, length
)
