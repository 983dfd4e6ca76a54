"""Read and write the bytes of a `.pt` file that contains one tensor."""

import io
import pickle
import pickletools
import re
import zipfile

import numpy as np
import torch

# What a pickled tensor refers to. torch also allows functions that take memory of any size, such as bytearray.
GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v[23])?|parameter|sparse_tensor|meta_tensor_no_storage)"
    r"|torch\.serialization _get_layout|torch (\w+Storage|Size|[a-z]\w+)"
)
LEGACY_HEADER = 3  # pickles before that of the tensor in torch's format before 1.6
MIN_LIMIT = 2**16  # of the integers in a pickle, for small files


def tensor_from_bytes(content: bytes) -> np.ndarray:
    """Return the tensor of a `.pt` file as float32 [...]; no code from the file is run.

    Raises:
        ValueError: The content is not a dense floating-point tensor.
    """
    if not content:
        raise ValueError("it cannot be read as a tensor: it is empty.")
    if content[:2] == b"PK" and _unpacked_bytes(content) > len(content):
        raise ValueError("it cannot be read as a tensor: its records are compressed, which torch does not write.")
    try:
        _check_pickles(content)
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


def _check_pickles(content: bytes) -> None:
    """Check, before torch allocates memory, that the pickles of a file describe tensors that fit in it.

    Raises:
        UnpicklingError: They refer to something else.
        ValueError: They cannot be read, or ask for more memory than the file has bytes.
    """
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            pickles = [io.BytesIO(records.read(name)) for name in records.namelist() if name.endswith("data.pkl")]
    else:
        file = io.BytesIO(content)
        for _ in range(LEGACY_HEADER):
            any(False for _ in pickletools.genops(file))
        pickles = [file]
    for opcode, value, _ in (each for file in pickles for each in pickletools.genops(file)):
        if "GLOBAL" in opcode.name and not GLOBALS.fullmatch(value or ""):
            raise pickle.UnpicklingError
        if isinstance(value, int) and value > max(len(content), MIN_LIMIT):
            raise ValueError(f"it asks for {value} values and has {len(content)} bytes")


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
