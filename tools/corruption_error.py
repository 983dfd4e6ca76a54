"""The command `mmtl corruption_error`, for `mim run mmtl corruption_error`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("corruption_error")
