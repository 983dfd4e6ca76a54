"""The command `mmtl list`, for `mim run mmtl list`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("list")
