"""The command `mmtl make_demo_data`, for `mim run mmtl make_demo_data`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("make_demo_data")
