"""The command `mmtl score_maps`, for `mim run mmtl score_maps`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("score_maps")
