"""The command `mmtl export_onnx`, for `mim run mmtl export_onnx`."""

from mmtl.cli.main import run_command

if __name__ == "__main__":
    run_command("export_onnx")
