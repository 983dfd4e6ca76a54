"""The command `mmtl config`, for `mim run mmtl config`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("config")
