"""Copy a config with everything that it inherits."""

from pathlib import Path

from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.config_file import KEYS_READ, read_config
from mmtl.utils.shipped_files import find_config

READ_ELSEWHERE = {"custom_imports", "test_pipeline"}  # by MMEngine's Config, and by inference functions of OpenMMLab


def copy_config(config: Path, out: Path, cfg_options: dict | None = None, replace: bool = False) -> None:
    """Write a config complete, without ``_base_``, below the comment that heads it.

    Variables that the config has used are left out: in the copy a change of theirs would change nothing.

    Args:
        config: file, or name of a config of mmtl.
        out: file to write.
        cfg_options: values by dotted key that differ in the copy.
        replace: whether an existing file is replaced.

    Raises:
        FileExistsError: The file exists and is not to be replaced.
    """
    if out.suffix != ".py":
        raise ValueError(f"--out must be a file that ends in .py, got {out}.")
    if out.exists() and not replace:
        raise FileExistsError(f"{out} exists. Choose another file, or replace it with --force.")
    header = []
    for line in find_config(config).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        header.append(line)
    complete = read_config(config, cfg_options)
    for name in {*complete} - KEYS_READ - READ_ELSEWHERE:
        if name != "score_maps" or complete[name]:  # mmtl.WithoutScoreMapsHook reads score_maps=None
            complete.pop(name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as part:
        part.write_text("\n".join([*header, complete.pretty_text]), encoding="utf-8")
