"""Read and write the bytes of a `.pt` file that contains one tensor."""

import io
import pickle
import zipfile

import numpy as np
import torch


def tensor_from_bytes(content: bytes) -> np.ndarray:
    """Return the tensor of a `.pt` file as float32 [...]; no code from the file is run.

    Raises:
        ValueError: The content is not a dense floating-point tensor.
    """
    if content[:2] == b"PK" and _unpacked_bytes(content) > len(content):
        raise ValueError("it cannot be read as a tensor: its records are compressed, which torch does not write.")
    try:
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own message advises to load without weights_only, which runs code
        raise ValueError("it cannot be read as a tensor. No code from it was run.") from None
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"it cannot be read as a tensor: {reason}.") from None
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"it must be a tensor, got a {type(value).__name__}.")
    if value.layout != torch.strided or value.device.type != "cpu" or not value.is_floating_point():
        raise ValueError(
            f"it must be a dense floating-point tensor, got {value.dtype}, {value.layout} on {value.device}."
        )
    if value.numel() * value.element_size() > len(content):  # a stride of zero repeats values without memory
        raise ValueError(f"it must hold the values of its shape {list(value.shape)}, got {len(content)} bytes.")
    return value.detach().float().numpy()


def _unpacked_bytes(content: bytes) -> int:
    try:
        return sum(record.file_size for record in zipfile.ZipFile(io.BytesIO(content)).infolist())
    except Exception:  # left to torch's reader
        return 0


def tensor_to_bytes(array: np.ndarray) -> bytes:
    """Return the content of a `.pt` file for an array."""
    content = io.BytesIO()  # torch.save to a path would also write the path's name into the file
    torch.save(torch.from_numpy(np.ascontiguousarray(array)), content)
    return content.getvalue()
