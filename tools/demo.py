"""The command `mmtl demo`, for `mim run mmtl demo`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("demo")
