# What every segmentation recipe shares: scope, hooks, log, seed. `mim train mmsegmentation` runs it.
default_scope = "mmseg"
default_hooks = dict(
    timer=dict(type="mmtl.IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="mmtl.CheckpointHook", by_epoch=False, max_keep_ckpts=2),
    exact_resume=dict(type="mmtl.ExactResumeHook"),
    skipped_images=dict(type="mmtl.CountSkippedImagesHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    # Truth and prediction side by side for every 50th batch of a validation, under vis_data/vis_image of the run. For
    # every image of a test: `mim test ... --show-dir FOLDER`. Off: default_hooks.visualization.draw=False
    visualization=dict(type="SegVisualizationHook", draw=True, interval=50),
    confusion_matrix=dict(type="mmtl.ConfusionMatrixHook"),  # a picture after each validation and test
    check_annotations=dict(type="mmtl.CheckAnnotationsHook"),
    pretrained_weights=dict(type="mmtl.PretrainedWeightsHook"),  # logs what load_from took of a checkpoint
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
# The second place is for TensorBoard: --cfg-options visualizer.vis_backends.1.type=TensorboardVisBackend
vis_backends = [dict(type="LocalVisBackend"), dict(type="mmtl.NoVisBackend")]
visualizer = dict(type="mmtl.SegLocalVisualizer", vis_backends=vis_backends, name="visualizer", alpha=0.5)
# `mim test ... --tta` averages the probabilities of the views of the data set's tta_pipeline.
tta_model = dict(type="SegTTAModel")
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
log_level = "INFO"
load_from = None
resume = False
