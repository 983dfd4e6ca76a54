"""The command `mmtl browse_samples`, for `mim run mmtl browse_samples`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("browse_samples")
