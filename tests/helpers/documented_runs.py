"""How tests/run_documented_commands.py runs the commands of the pages: one row for each kind of command.

A row's pattern is searched in the words of a command. Every command is quick (`is_quick`), or has exactly one row in
`LONG` or `NOT_RUN`; tests/test_docs_commands.py checks it.
"""

from typing import NamedTuple

from helpers.documented_commands import Command, tool_words

SMALL = "lvvit-small_8xb128-tokenlabel-300e_in1k"
UPERNET = "lvvit-small_upernet_8xb2-160k_ade20k-512x512"
# What the words in capitals stand for; a row may have other values.
VALUES = {
    "CONFIG": f"configs/lvvit/{SMALL}.py",
    "CHECKPOINT": f"work_dirs/{SMALL}/epoch_310.pth",
    "KEY": "n01440764/n01440764_10026.JPEG",
    "DIR": "work_dirs/DIR",
    "SEED": "1",
    "work_dirs/cifar10/RUN": "work_dirs/cifar10/token_labels",
    "work_dirs/NAME/epoch_40.pth": f"work_dirs/{SMALL}/epoch_310.pth",
    "work_dirs/.../": f"work_dirs/{UPERNET}/",
    "/data/imagenet": "data/imagenet",
    "/data/maps": "data/imagenet_score_maps",
    "URL": "https://example.com/small.pth",
    "scenes/masks": "index_masks",  # scenes has other masks
}
# What torch's cache has of URLs.
DOWNLOADED = {
    "small.pth": f"work_dirs/{SMALL}/epoch_310.pth",
    "upernet_lvvit_s.pth": f"work_dirs/{UPERNET}/iter_160000.pth",
}
# Outputs of several commands, of which a reader takes one: removed before each.
ALTERNATIVES = ("OUT", "index_masks")
# Made by a command of another page, or one like it, if a page uses it before.
MADE_BY = {
    "STORE": "mmtl make_score_maps CONFIG CHECKPOINT IMAGES STORE --shard-images 1",
    "OTHER_STORE": "mmtl make_score_maps lite/efficientnet_lite0 IMAGES OTHER_STORE",
    "data/demo": "mmtl make_demo_data data/demo",
    "work_dirs/cifar10/score_maps": "mmtl make_score_maps configs/examples/resnet-nano_1xb128-8e_cifar10.py "
    "work_dirs/cifar10/annotator/epoch_8.pth data/cifar10/train work_dirs/cifar10/score_maps",
}


class Row(NamedTuple):
    """How commands of one kind run.

    Attributes:
        pattern: of the command.
        options: appended words; nothing if the command runs as it is.
        reason: of the options.
        values: of words in capitals, in place of `VALUES`.
        fresh: output that exists, removed before.
        needs: a key of `MADE_BY` that the command does not name.
    """

    pattern: str
    options: str = ""
    reason: str = ""
    values: dict[str, str] = {}
    fresh: str = ""
    needs: str = ""


LOADERS = "train_dataloader.batch_size=2 train_dataloader.num_workers=0 val_dataloader.num_workers=0"
LOADERS += " default_hooks.checkpoint.save_best=None"  # one checkpoint is enough
EPOCH = f"--cfg-options train_cfg.max_epochs=1 val_dataloader.batch_size=2 {LOADERS}"
SCALE = "dataset.pipeline.{}.scale=(128,96)"
ITERATIONS = f"--cfg-options train_cfg.max_iters=2 train_cfg.val_interval=2 {LOADERS}"
NO_MATRIX = "default_hooks.confusion_matrix.draw=False"  # of 150 classes
ADE = f"{ITERATIONS} {NO_MATRIX} crop_size=(64,64) val_dataloader.{SCALE.format(1)} train_dataloader.{SCALE.format(2)}"
WINDOWS = "--cfg-options model.test_cfg.crop_size=(64,64) model.test_cfg.stride=(42,42)"
ADE_TEST = f"{WINDOWS} {NO_MATRIX} test_dataloader.num_workers=0 test_dataloader.{SCALE.format(1)}"
TTA = " ".join(f"tta_pipeline.1.transforms.0.{i}.scale=(64,{64 + 8 * i})" for i in range(6))
TEST = "--cfg-options test_dataloader.batch_size=2 test_dataloader.num_workers=0"
ONE_EPOCH, TWO_STEPS, SMALL_WINDOWS = "one epoch of batches of 2", "2 iterations of small crops", "small windows"
NANO = dict(CONFIG="configs/examples/resnet-nano_1xb128-8e_cifar10.py", FILE="work_dirs/cifar10/annotator/epoch_8.pth")
SEGMENTOR = dict(CONFIG=f"configs/lvvit/{UPERNET}.py", CHECKPOINT=f"work_dirs/{UPERNET}/iter_160000.pth")

LONG = (
    Row(r"^mmtl (-h|--version)$"),
    Row(r"^mmtl start "),
    Row(r"^mmtl train \w+-mmtl$", reason="2 epochs or iterations, some of the images, by the configs"),
    Row(r"^mmtl train (CONFIG|\S+_in1k\S*)(?!.*(--resume|FSDP))", EPOCH, ONE_EPOCH),
    Row(r"^mmtl train CONFIG --resume", EPOCH.replace("epochs=1", "epochs=2"), ONE_EPOCH),
    Row(r"^mmtl train \S*_ade20k-512x512", ADE, TWO_STEPS),
    Row(r"^mmtl train \S*resnet\S*_cifar10\.py", EPOCH, ONE_EPOCH),
    Row(r"^mmtl train \S*lvvit\S*_cifar10\.py", EPOCH, ONE_EPOCH, needs="work_dirs/cifar10/score_maps"),
    Row(r"^mmtl train \S*camvid", ITERATIONS, TWO_STEPS),
    Row(r"^mmtl train \S*upernet\S*_demo", ITERATIONS, TWO_STEPS, needs="data/demo"),
    Row(r"^mmtl train \S*\de_demo", EPOCH + " train_dataloader.dataset.indices=8", "8 images", needs="data/demo"),
    Row(r"^mmtl test (CONFIG|\S+_in1k\S*)", TEST, "small batches"),
    Row(r"^mmtl test \S*_ade20k(?!.*--tta)", ADE_TEST, SMALL_WINDOWS),
    Row(r"^mmtl test \S*_ade20k.*--tta", f"{ADE_TEST} {TTA}", SMALL_WINDOWS),
    Row(r"^mmtl test \S*camvid", "--cfg-options test_dataloader.num_workers=0", "no workers"),
    Row(r"^mmtl test \w+-mmtl/"),
    Row(r"^mmtl segment (?!CONFIG)\S*_ade20k", ADE_TEST, SMALL_WINDOWS),
    Row(r"^mmtl segment CONFIG", ADE_TEST, SMALL_WINDOWS, SEGMENTOR),
    Row(r"^mmtl segment \w+-mmtl/"),
    Row(r"^mmtl check_segmentation_data CONFIG", values=SEGMENTOR),
    Row(r"^mmtl predict "),
    Row(r"^mmtl corruption_error .*(imagenet-c|cifar10)"),
    Row(r"^mmtl corruption_error .*imagenet/val", "--severities 3", "one severity of five"),
    Row(r"^mmtl make_score_maps (CONFIG|\S*lite0).* OUT(?!.*--launcher)"),
    Row(r"^mmtl make_score_maps CONFIG.*--launcher pytorch", "--processes 2", "2 processes"),
    Row(r"^mmtl make_score_maps \S*lite0 IMAGES STORE", fresh="STORE"),
    Row(r"^mmtl make_score_maps configs/"),
    Row(r"^mmtl score_maps verify .*--against"),
    Row(r"^mmtl score_maps stats .*--against lite/"),
    Row(r"^mmtl score_maps show STORE KEY"),
    Row(r"^mmtl score_maps import \S+ STORE", values=dict(STORE="IMPORTED")),
    Row(r"^mmtl score_maps import \S+ data/", fresh="data/imagenet_score_maps"),
    Row(r"^mmtl export_onnx ", values={"small.pth": VALUES["CHECKPOINT"]}),
    Row(r"^mmtl make_demo_data"),
    Row(
        r"^python benchmarks/proof/run\.py",
        "--epochs 1 --seeds 1 --batch 4 --jobs 1 --device cpu",
        "one epoch, one seed, CPU",
        NANO,
    ),
    Row(r"^python benchmarks/proof/corruptions\.py"),
    Row(r"^python benchmarks/online_annotator\.py --images"),
)
NOT_RUN = {
    r"^(git|cd|source|conda|python3) ": "prepares clone and shell",
    r"^pip install": "downloads packages; --wheel builds and installs mmtl's",
    r"^make ": "creates .venv from downloads; tests run the same commands",
    r"^docker ": "needs docker and a download of its image",
    r"^srun |--launcher slurm": "needs Slurm",
    r"^torchrun ": "needs two machines",
    r"FSDPStrategy": "needs GPUs; tests/models/test_distributed.py runs it on a CPU",
    r"timm/dm_nfnet_f6": "downloads 1.7 GB of weights",
    r"resnet50_8xb32_in1k .*--pretrained": "downloads weights",
    r"^tensorboard ": "serves until it is stopped",
}
EVERY = 7  # of the lists that `mmtl start` writes, every seventh image is used, for 2 epochs or iterations
# Changes of every command from outside; a removed word is replaced by nothing.
REMOVED = {"--amp": "float16 needs a GPU"}
NO_GPUS = (r"^mmtl (train|test) .*--gpus [1-9]", "--gpus 0 --launcher none", "no GPUs")
ENVIRONMENT = {
    "TORCH_COMPILE_DISABLE": "1",  # compiling takes minutes
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "http_proxy": "http://127.0.0.1:9",  # downloads fail at once, as without a network
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1",
    "HF_HUB_OFFLINE": "1",
}


def is_quick(command: Command) -> bool:
    """Whether tests/test_docs_commands.py runs a command as it is."""
    name, *arguments = tool_words(command) or [""]
    quick = name in ("list", "config", "convert_masks") or name == "score_maps" and arguments[0] != "import"
    return quick and not {"CONFIG", "lite/efficientnet_lite2", "KEY"} & set(arguments)
