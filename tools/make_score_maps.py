"""The command `mmtl make_score_maps`, for `mim run mmtl make_score_maps`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("make_score_maps")
