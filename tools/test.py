"""The command `mmtl test`, for `mim run mmtl test`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("test")
