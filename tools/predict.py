"""The command `mmtl predict`, for `mim run mmtl predict`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("predict")
