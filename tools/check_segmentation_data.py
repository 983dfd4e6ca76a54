"""The command `mmtl check_segmentation_data`, for `mim run mmtl check_segmentation_data`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("check_segmentation_data")
