# Runtime of the segmentation recipes, for `mim train mmsegmentation`.
_base_ = "runtime.py"
default_scope = "mmseg"
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=16000, save_best="mIoU"),  # a tenth of 160k iterations
    # Annotation and prediction side by side for the first batch of a validation and every 50th after it, in
    # vis_data/vis_image of the run. For every image of a test: --show-dir FOLDER. Off: draw=False
    visualization=dict(type="mmtl.SegVisualizationHook", draw=True, interval=50),
    confusion_matrix=dict(type="mmtl.ConfusionMatrixHook"),  # a figure after each validation and test
    check_annotations=dict(type="mmtl.CheckAnnotationsHook"),
)
env_cfg = dict(cudnn_benchmark=True)
visualizer = dict(type="mmtl.SegLocalVisualizer", name="visualizer", alpha=0.5)
# `mim test ... --tta` averages the probabilities of the views in the dataset's tta_pipeline.
tta_model = dict(type="SegTTAModel")
log_processor = dict(by_epoch=False)
