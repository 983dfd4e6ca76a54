# Phase 2 of self-emerging token labels: LV-ViT-S learns from the class label and the labels that the model of phase 1
# gives the patch tokens of the same crop, in original colors. Each label is a Gumbel-Softmax sample.
#
# Paper:     Fully Attentional Networks with Self-emerging Token Labeling, ICCV 2023, arXiv 2401.03844; departures in
#            docs/online_annotator.md
# Command:   mim train mmpretrain configs/token_labeling/lvvit-small_8xb128-selflabel-300e_in1k.py
#            --launcher pytorch --gpus 8
#            --cfg-options compile=True optim_wrapper.type=mmtl.BFloat16OptimWrapper
#            Other labels: model.data_preprocessor.label_form=soft (or hard),
#            model.data_preprocessor.min_confidence=0.3; from a store: model.annotator=None
# Needs:     the checkpoint of phase 1; with model.annotator=None data/imagenet_self_labels (docs/online_annotator.md)
# Batch:     8 GPUs x 128 = 1024 images, lr 1.6e-3; the rest as LV-ViT-S
# Length:    300 epochs + 10 at the floor = 310 x 1251 (1,281,167 images / 1024) = 387,810 steps
# Measured:  not yet run
_base_ = "../lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py"
score_maps = "data/imagenet_self_labels"  # used without the annotator
train_steps = _base_.train_steps
train_steps.load_score_map.update(store=score_maps)
train_pipeline = list(train_steps.values())
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

labeler = "lvvit-small_8xb128-tokenlabeler-300e_in1k"
model = dict(
    annotator=dict(model=labeler, checkpoint=f"work_dirs/{labeler}/epoch_310.pth"),
    data_preprocessor=dict(tail="probability", label_form="gumbel", temperature=1.0, min_confidence=0.0),
)
