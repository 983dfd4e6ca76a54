"""The command `mmtl segment`, for `mim run mmtl segment`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("segment")
