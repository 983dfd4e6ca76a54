"""The command `mmtl train`, for `mim run mmtl train`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("train")
