# Phase 2 of self-emerging token labels on the demo's dataset: a nano LV-ViT learns from the labels of the model of
# phase 1, which labels every batch in the training step.
#
# Command:   mim train mmpretrain configs/demo/lvvit-nano_1xb32-selflabel-6e_demo.py --gpus 0
# Needs:     work_dirs/demo/token_labeler/epoch_6.pth, of lvvit-nano_1xb32-tokenlabeler-6e_demo.py; with
#            --cfg-options model.annotator=None its store work_dirs/demo/self_labels (docs/online_annotator.md)
# Batch:     1 CPU x 32 images, lr 1e-3
# Length:    6 epochs x 3000 / 32 images = 564 steps
# Measured:  not yet run at this length
_base_ = ["lvvit-nano_1xb32-tokenlabel-6e_demo.py"]
work_dir = "work_dirs/demo/self_labels_online"
score_maps = "work_dirs/demo/self_labels"  # used without the annotator

steps = _base_.train_steps
load_score_map = dict(steps.load_score_map, store=score_maps)
train_pipeline = [steps.load_image, load_score_map, steps.crop, steps.flip, steps.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    annotator=dict(
        model="lvvit-nano_1xb32-tokenlabeler-6e_demo",
        checkpoint="work_dirs/demo/token_labeler/epoch_6.pth",
        dtype="float32",  # faster than bfloat16 on most CPUs
    ),
    data_preprocessor=dict(label_form="gumbel", temperature=1.0, min_confidence=0.0),
)
