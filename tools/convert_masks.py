"""The command `mmtl convert_masks`, for `mim run mmtl convert_masks`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("convert_masks")
