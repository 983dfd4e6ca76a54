"""The command `mmtl start`, for `mim run mmtl start`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("start")
