"""Decode image files as training does: the first image of a file, upright by its EXIF orientation, of 8 bit.

The flag 'unchanged' keeps all channels, and 16 bit or floating-point values as float32, without scaling.
"""

import itertools
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from mmtl.utils.type_name import type_name

# Pillow, which reads headers here, refuses images of more than twice this: those that OpenCV refuses to decode.
Image.MAX_IMAGE_PIXELS = 2**29
UPRIGHT = 1  # EXIF's orientation of pixels that need no turning
SWAPPED = 5  # the first of those that are stored with rows and columns exchanged
UPRIGHT_FLAGS = ("color", "grayscale")  # of mmcv; its others leave an image as it is stored
MARKED = (b"\xff\xd8", b"\x89PNG", b"RIFF")  # first bytes of the formats that `is_truncated` knows
APP1, XMP = b"\xe1", b"http://ns.adobe.com/"  # a JPEG segment's marker, and the start of those that hold no Exif data
BYTE_ORDERS = {b"II": "little", b"MM": "big"}  # of Exif data, by their first bytes
# Exif's entry "orientation: upright" (tag, type SHORT, one value, 1) by byte order.
UPRIGHT_ENTRIES = {"little": b"\x12\x01\x03\0\x01\0\0\0\x01\0", "big": b"\x01\x12\0\x03\0\0\0\x01\0\x01"}
IGNORE_EXIF = ("turbojpeg", "tifffile")  # backends of mmcv that leave an image as it is stored


def loading_options(pipeline: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return how a pipeline's config loads images that are not BGR of 8 bit, as arguments of `read_image`."""
    step = next((step for step in pipeline if type_name(step["type"]) == "LoadImageFromFile"), {})
    flag, backend = step.get("color_type", "color"), step.get("imdecode_backend")
    return {} if flag == "color" and backend != "tifffile" else dict(flag=flag, backend=backend)


def read_image(path: Path, flag: str = "color", backend: str | None = None) -> np.ndarray | None:
    """Return an image file's pixels, uint8 [H, W, 3] BGR unless the flag asks otherwise, None if it is not decodable.

    The options are those of `decode_image`.
    """
    try:
        return decode_image(path.read_bytes(), flag, backend)
    except ImportError:  # of tifffile and its codecs
        raise
    except Exception:  # decoders raise all kinds of errors on corrupt files
        return None


def decode_image(data: bytes, flag: str = "color", backend: str | None = None) -> np.ndarray:
    """Decode a file's contents with mmcv, whose arguments are the others; upright unless the flag asks otherwise.

    Returns:
        uint8 [H, W, 3] BGR; uint8 [H, W] with the flag 'grayscale'; with 'unchanged' uint8 or float32 [H, W] or
        [H, W, C], in the channel order of the file (backend 'tifffile', for any number of channels) or of OpenCV (BGR,
        BGRA). Values of other types become float32 without scaling.

    Raises:
        ImportError: The backend is 'tifffile', which is not installed, or lacks imagecodecs for the compression.
        ValueError: The file is truncated or cannot be decoded; decoders raise errors of other types, too.
    """
    if is_truncated(data):
        raise ValueError("the file is truncated")
    import mmcv  # here, as it imports torch, and most callers only read headers

    is_opencv = (backend or mmcv.image.io.imread_backend) == "cv2"
    if is_opencv and flag == "color" and (image := _decode_plain_jpeg(data)) is not None:
        return image
    image = _decode_tiff(data) if backend == "tifffile" else mmcv.imfrombytes(data, flag=flag, backend=backend)
    if image is None:
        raise ValueError("it cannot be decoded")
    if image.dtype != np.uint8:
        image = image.astype(np.float32)
    return turn_upright(image, _orientation(data)) if backend in IGNORE_EXIF and flag in UPRIGHT_FLAGS else image


def _decode_tiff(data: bytes) -> np.ndarray:
    """Return the first image of a TIFF with the channels last, however the file arranges them."""
    try:
        import tifffile
    except ImportError:
        text = "imdecode_backend='tifffile' needs tifffile. Install it with: pip install tifffile"
        raise ImportError(text) from None
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            image, axes = file.series[0].asarray(), file.series[0].axes
    except ValueError as error:
        if "imagecodecs" in str(error):  # of compressed files, such as those of LZW
            raise ImportError(f"{error}. Install it with: pip install imagecodecs") from None
        raise
    if image.ndim == 3 and axes.endswith("YX"):  # channels in separate planes or pages
        image = np.ascontiguousarray(image.transpose(1, 2, 0))
    if image.ndim not in (2, 3):
        raise ValueError(f"its axes must be rows, columns and channels, got {axes} {image.shape}")
    return image


def _decode_plain_jpeg(data: bytes) -> np.ndarray | None:
    """Return OpenCV's pixels of a JPEG about 15 % faster; None for what OpenCV may read in another way."""
    if not data.startswith(b"\xff\xd8") or _may_be_turned(data):
        return None
    try:
        return simplejpeg.decode_jpeg(data, colorspace="BGR")
    except ValueError:  # four channels, or damage that OpenCV tolerates
        return None


def is_truncated(data: bytes) -> bool:
    """Return whether the image ends before its format's end mark, which OpenCV 4 fills with gray without an error.

    Bytes after the end, such as the video of a motion photo, belong to no image. Formats other than JPEG, PNG and WebP
    are left to the decoder.
    """
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") < _jpeg_segments(data)[-1]  # from the end, where complete files have it
    if data.startswith(b"\x89PNG"):
        position = 8
        while (name := data[position + 4 : position + 8]) not in (b"IEND", b""):  # after the length of each chunk
            position += 12 + int.from_bytes(data[position : position + 4])
        return not name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return len(data) + 1 < 8 + int.from_bytes(data[4:8], "little")  # some writers omit the padding byte
    return False


def is_complete(path: Path) -> bool:
    """Return whether an image file has its end; only formats without an end mark are decoded for that."""
    data = path.read_bytes()
    return not is_truncated(data) if data.startswith(MARKED) else read_image(path, "unchanged") is not None


def _may_be_turned(data: bytes) -> bool:
    """Return whether OpenCV could find an Exif orientation other than upright in a JPEG.

    It would be in a segment APP1, which XMP shares with Exif.
    """
    starts = _jpeg_segments(data)
    segments = (data[start:end] for start, end in itertools.pairwise(starts) if data[start + 1 : start + 2] == APP1)
    return any(_has_other_orientation(segment) for segment in segments if not segment.startswith(XMP, 4))


def _has_other_orientation(segment: bytes) -> bool:
    """Return whether the first directory of Exif data has an orientation other than upright, or is not found.

    OpenCV reads the 12 bytes of each entry of that directory, whatever their type; thumbnails have a second one.
    """
    exif = segment[10:]  # after marker, length and "Exif"
    order = BYTE_ORDERS.get(exif[:2])
    if order is None:
        return True
    start = int.from_bytes(exif[4:8], order) + 2
    end = start + 12 * int.from_bytes(exif[start - 2 : start], order)
    entries = (exif[entry : entry + 10] for entry in range(start, min(end, len(exif)), 12))
    upright = UPRIGHT_ENTRIES[order]
    return any(entry[:2] == upright[:2] and entry != upright for entry in entries)


def _jpeg_segments(data: bytes) -> list[int]:
    """Return where the segments of a JPEG start, which may hold a thumbnail with its own end, then its pixels."""
    starts = [2]
    while data[(start := starts[-1]) : start + 1] == b"\xff" and (marker := data[start + 1 : start + 2]) != b"\xda":
        starts.append(start + (1 if marker == b"\xff" else 2 + int.from_bytes(data[start + 2 : start + 4])))
    return starts


def orientation_of(path: str | Path) -> int:
    """Return the EXIF orientation of a local file, 1 (upright) to 8; 1 for files without one and unreadable ones."""
    try:
        with Path(path).open("rb") as file:
            return _orientation(file)
    except OSError:
        return UPRIGHT


def image_size(path: object) -> tuple[int, int] | None:
    """Return width and height of the upright image, from a file's header; None unless Pillow can read this."""
    try:
        with Image.open(path) as image:
            return image.size[::-1] if _orientation_tag(image) >= SWAPPED else image.size
    except Exception:  # decoders raise all kinds of errors on corrupt files
        return None


def size_difference(shape: tuple[int, ...], image_hw: tuple[int, int], img_path: str | None = None) -> str | None:
    """Describe how the shape of labels differs from that of their image, which is read upright by its EXIF data."""
    if tuple(shape) == tuple(image_hw):
        return None
    sizes = (" x ".join(map(str, size)) for size in (image_hw, shape))
    text = "size must be {} (H x W) as of the image, got {}".format(*sizes)
    if img_path and (orientation := orientation_of(img_path)) != UPRIGHT:
        text += f"; the image has EXIF orientation {orientation} and is read upright, as viewers show it"
    return text


def _orientation(file: object) -> int:
    """Read the EXIF orientation of an open file or of bytes."""
    try:
        with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as image:
            return _orientation_tag(image)
    except Exception:  # decoders raise all kinds of errors on corrupt files
        return UPRIGHT


def _orientation_tag(image: Image.Image) -> int:
    """Return the EXIF orientation of an image; every decoder, and Pillow for the size, turns TIFFs by itself."""
    found = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT) if image.format != "TIFF" else UPRIGHT
    return found if found in range(1, 9) else UPRIGHT


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels [H, W, ...] as their EXIF orientation says."""
    if orientation == UPRIGHT or pixels.ndim < 2:
        return pixels
    if orientation >= SWAPPED:
        pixels = pixels.swapaxes(0, 1)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])
