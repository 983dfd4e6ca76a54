"""The command `mmtl convert_checkpoint`, for `mim run mmtl convert_checkpoint`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("convert_checkpoint")
