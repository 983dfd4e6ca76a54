"""Every door reads an image the same way: upright, its first frame, and only if it is complete."""

import io
import struct

import cv2
import mmcv
import numpy as np
import pytest
from helpers import tiny_segmentation as tiny
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image, ImageOps

from mmtl.annotators.images import ResizeToInput
from mmtl.apis.check_segmentation import check_segmentation, print_report
from mmtl.datasets.transforms import LoadImageFromFile
from mmtl.utils.read_image import decode_image, image_size, is_truncated, orientation_of, read_image, turn_upright

PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8), (64, 48))
PLAIN = Image.fromarray(PIXELS)
OTHER = Image.fromarray(PIXELS[::-1].copy())


def encoded(kind, image=PLAIN, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_segment(data, marker, content):
    """A JPEG with one more segment, before its others."""
    return data[:2] + bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content + data[2:]


def with_thumbnail():
    """A JPEG whose EXIF data hold a small JPEG, end mark included."""
    exif = Image.Exif()
    exif[0x010E] = "x"  # a description
    data = encoded("JPEG", exif=exif)
    thumbnail = encoded("JPEG", PLAIN.resize((8, 8)))
    segment = b"\xff\xe2" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    return data[:2] + segment + data[2:]


FILES = dict(
    jpeg=encoded("JPEG"),
    progressive=encoded("JPEG", progressive=True),
    cmyk_jpeg=encoded("JPEG", PLAIN.convert("CMYK")),
    thumbnail=with_thumbnail(),
    png=encoded("PNG"),
    png_16_bit=encoded("PNG", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)),
    png_palette=encoded("PNG", PLAIN.convert("P")),
    webp=encoded("WEBP"),
    webp_lossless=encoded("WEBP", lossless=True),
    tiff=encoded("TIFF"),
    tiff_cmyk=encoded("TIFF", PLAIN.convert("CMYK")),
    tiff_16_bit=cv2.imencode(".tif", PIXELS.astype(np.uint16) * 257)[1].tobytes(),
    bmp=encoded("BMP"),
    ppm=encoded("PPM"),
)
FRAMES = dict(
    tiff=encoded("TIFF", save_all=True, append_images=[OTHER]),
    webp=encoded("WEBP", save_all=True, append_images=[OTHER], lossless=True),
    apng=encoded("PNG", save_all=True, append_images=[OTHER]),
    mpo=encoded("MPO", save_all=True, append_images=[OTHER], quality=100),
)


def load(path):
    """Read with the pipeline's loading; None where it refuses."""
    try:
        return LoadImageFromFile()(dict(img_path=str(path)))["img"]
    except ValueError:
        return None


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("appended", [b"", b"\0" * 9000, b"\xff\xd8" + b"video" * 2000])
def test_complete_files_are_read_whatever_follows_their_end(tmp_path, kind, appended):
    (tmp_path / "a").write_bytes(FILES[kind] + appended)
    image = read_image(tmp_path / "a")
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert np.array_equal(image, load(tmp_path / "a"))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path, kind, share):
    data = FILES[kind]
    (tmp_path / "a").write_bytes(data[: int(len(data) * share)])
    assert read_image(tmp_path / "a") is None and load(tmp_path / "a") is None


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "thumbnail", "png", "png_16_bit", "webp", "webp_lossless"])
def test_truncation_is_found_without_the_decoder(kind):
    data = FILES[kind]
    assert not is_truncated(data) and not is_truncated(data + b"\0")
    assert all(is_truncated(data[:-missing]) for missing in (10, 20, len(data) // 2, len(data) - 12))


@pytest.mark.parametrize("kind", FRAMES)
def test_the_first_of_several_frames_is_read(tmp_path, kind):
    (tmp_path / "a").write_bytes(FRAMES[kind])
    assert np.abs(read_image(tmp_path / "a").astype(int) - PIXELS[..., ::-1]).mean() < 8
    assert np.array_equal(read_image(tmp_path / "a"), load(tmp_path / "a"))


def oriented(kind, orientation, image=PLAIN):
    exif = Image.Exif()
    exif[0x112] = orientation
    return encoded(kind, image, **(dict(tiffinfo=exif) if kind == "TIFF" else dict(exif=exif)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_door_turns_an_image_upright_as_viewers_do(tmp_path, kind, orientation):
    (tmp_path / "a").write_bytes(oriented(kind, orientation))
    with Image.open(tmp_path / "a") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1]
    image = read_image(tmp_path / "a")
    assert image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < 4
    assert np.array_equal(image, load(tmp_path / "a"))
    assert image_size(tmp_path / "a") == image.shape[1::-1]
    resize = ResizeToInput(image.shape[:2], "bilinear", "cv2")
    assert np.array_equal(image, resize(tmp_path / "a"))
    if kind != "TIFF":
        assert orientation_of(tmp_path / "a") == orientation
        turned = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(oriented("PNG", orientation)))))
        assert np.array_equal(turn_upright(PIXELS, orientation), turned)


def test_a_missing_or_broken_file_is_upright(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8broken")
    assert orientation_of(tmp_path / "a.jpg") == orientation_of(tmp_path / "b.jpg") == 1


@pytest.fixture
def config(tmp_path):
    tiny.write_data(tmp_path)
    return tiny.write_config(tmp_path)


def turn(path, orientation):
    """Give the file at a path an EXIF orientation, with its pixels as they are."""
    path.write_bytes(oriented("PNG", orientation, Image.open(path).copy()))


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_the_check_tool_counts_images_with_an_orientation_and_names_it_where_sizes_differ(
    config, tmp_path, capsys, orientation
):
    for index in (0, 2):
        turn(tmp_path / f"images/train/{index}.png", orientation)
    print_report(check_segmentation(config, jobs=1), None)
    text = " ".join(capsys.readouterr().out.split())
    assert "train: 2 images have an EXIF orientation" in text
    assert ("the image has EXIF orientation 6 and is read upright" in text) == (orientation == 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", ["wide", "square"])
@pytest.mark.parametrize("mask_is_turned", [False, True])
def test_the_check_tool_warns_with_the_count_where_sizes_do_not_show_whether_a_mask_is_upright(
    config, tmp_path, capsys, orientation, shape, mask_is_turned
):
    image, mask = (tmp_path / kind / "train/1.png" for kind in ("images", "annotations"))
    for path in (image, mask):
        if shape == "square":
            Image.open(path).crop((0, 0, 40, 40)).save(path)
    turn(image, orientation)
    if mask_is_turned:
        turn(mask, orientation)
    code = print_report(check_segmentation(config, jobs=1), None)
    text = " ".join(capsys.readouterr().out.split())
    is_unclear = orientation > 1 and not mask_is_turned and (orientation < 5 or shape == "square")
    assert ("WARNING: train: 1 annotations have no EXIF orientation" in text) == is_unclear
    assert ("problems: none, warnings: 1" in text) == is_unclear
    assert (code > 0) == (orientation >= 5 and shape == "wide" and not mask_is_turned)


def run_of(config, tmp_path):
    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "run"), f"upright_{tmp_path.name}"
    cfg.default_hooks = dict(check_annotations=dict(type="mmtl.CheckAnnotationsHook"))
    return Runner.from_cfg(cfg)


def test_a_run_warns_of_orientations_and_names_it_where_sizes_differ(config, tmp_path):
    turn(tmp_path / "images/train/0.png", 3)
    runner, lines = run_of(config, tmp_path), []
    runner.logger.handle = lambda record: lines.append((record.levelname, record.getMessage()))
    runner.train()
    assert any(level == "WARNING" and "1 of 4 images have an EXIF orientation" in text for level, text in lines)


def test_a_mask_of_another_size_than_its_turned_image_is_refused_naming_the_orientation(config, tmp_path):
    for path in tmp_path.glob("images/train/*.png"):
        turn(path, 6)
    with pytest.raises(ValueError, match="sizes? must be 56 x 40 .* EXIF orientation 6"):
        run_of(config, tmp_path).train()


def test_a_mask_with_the_orientation_of_its_image_is_turned_with_it(config, tmp_path):
    for path in tmp_path.glob("*/train/*.png"):
        turn(path, 6)
    runner = run_of(config, tmp_path)
    runner.train()
    pipeline = runner.train_dataloader.dataset.pipeline.transforms
    info = runner.train_dataloader.dataset.get_data_info(0)
    labels = pipeline[1](pipeline[0](info))["gt_seg_map"]
    assert np.array_equal(labels, turn_upright(tiny.make_pair((40, 56), 0)[1], 6))


def test_hidden_files_are_no_images_anywhere(config, tmp_path):
    for kind in ("images", "annotations"):
        hidden = tmp_path / kind / "train/.ipynb_checkpoints"
        hidden.mkdir()
        (hidden / "0-checkpoint.png").write_bytes((tmp_path / kind / "train/0.png").read_bytes())
    (tmp_path / "images/train/._1.png").write_bytes(b"resource fork")
    splits = check_segmentation(config, jobs=1)
    assert len(splits[0].pairs) == 4 and not splits[0].problems
    assert len(run_of(config, tmp_path).train_dataloader.dataset) == 4


def damaged(data):
    """Overwrite bytes in the middle of a JPEG's compressed pixels, which OpenCV decodes as far as it can."""
    middle = len(data) * 3 // 4
    return data[:middle] + b"\x12\x34\xff\xd4" * 4 + data[middle + 16 :]


def exif_data(order, orientation):
    """The content of an Exif segment with three entries, '<' little-endian or '>' big-endian."""
    entries = [(0x010E, 2, 2, b"x\0\0\0"), (0x0112, 3, 1, struct.pack(order + "HH", orientation, 0))]
    entries.append((0x0128, 3, 1, struct.pack(order + "HH", 2, 0)))
    header = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, len(entries))
    return (
        b"Exif\0\0"
        + header
        + b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
        + bytes(4)
    )


ODD = Image.fromarray(cv2.resize(PIXELS, (61, 45), interpolation=cv2.INTER_NEAREST))
JPEGS = dict(
    {f"subsampling_{name}": encoded("JPEG", ODD, subsampling=name) for name in ("4:4:4", "4:2:2", "4:2:0")},
    **{
        f"factor_{factor:x}": cv2.imencode(".jpg", PIXELS, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()
        for factor in (0x411111, 0x121111)
    },
    progressive=encoded("JPEG", ODD, progressive=True, quality=95),
    restart=encoded("JPEG", ODD, restart_marker_rows=1),
    gray=encoded("JPEG", ODD.convert("L")),
    rgb=encoded("JPEG", ODD, keep_rgb=True),
    cmyk=encoded("JPEG", ODD.convert("CMYK")),
    damaged=damaged(encoded("JPEG", quality=95)),
    thumbnail=with_thumbnail(),
    one_pixel=encoded("JPEG", ODD.resize((1, 1))),
    turned=oriented("JPEG", 6),
    turned_after_xmp=with_segment(oriented("JPEG", 6), 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
    upright_little_endian=oriented("JPEG", 1, ODD),
    upright_big_endian=with_segment(encoded("JPEG", ODD), 0xE1, exif_data(">", 1)),
    upright_tag_in_thumbnail=with_segment(encoded("JPEG", ODD), 0xE1, exif_data("<", 1) + b"\x12\x01\x06\0" * 9),
    xmp=with_segment(encoded("JPEG", ODD), 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>Exif</x:xmpmeta>"),
    photoshop=with_segment(encoded("JPEG", ODD), 0xED, b"Photoshop 3.0\0Exif"),
)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_has_opencvs_pixels(kind):
    expected = cv2.imdecode(np.frombuffer(JPEGS[kind], np.uint8), cv2.IMREAD_COLOR)
    assert (decode_image(JPEGS[kind]) == expected).all()


@given(
    order=st.sampled_from("<>"),
    orientation=st.sampled_from([0, 1, 1, 1, 3, 6, 256]),
    changes=st.lists(st.tuples(st.integers(6, 55), st.integers(0, 255)), max_size=3),
)
def test_a_jpeg_with_any_exif_data_is_turned_as_opencv_turns_it(order, orientation, changes):
    content = bytearray(exif_data(order, orientation))
    for position, value in changes:
        content[position] = value
    data = with_segment(encoded("JPEG", ODD), 0xE1, bytes(content))
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode_image(data), expected)


UPRIGHT = ("upright_little_endian", "upright_big_endian", "upright_tag_in_thumbnail")


@pytest.mark.parametrize("kind", ["subsampling_4:2:0", "progressive", "gray", "xmp", "photoshop", *UPRIGHT])
def test_a_plain_jpeg_takes_the_faster_decoder(kind, monkeypatch):
    monkeypatch.setattr(mmcv, "imfrombytes", None)
    assert decode_image(JPEGS[kind]).shape == (45, 61, 3)


@pytest.mark.parametrize("orientation", [2, 3, 6])
@pytest.mark.parametrize("backend", ["cv2", "pillow"])
def test_a_gray_image_is_upright_by_every_backend(orientation, backend):
    image = decode_image(oriented("PNG", orientation), flag="grayscale", backend=backend)
    assert image.shape[:2] == turn_upright(PIXELS, orientation).shape[:2]
    color = decode_image(oriented("PNG", orientation), backend=backend)
    assert np.abs(image.reshape(color.shape[:2]) - color.mean(-1)).mean() < 25


def test_a_backend_that_ignores_the_orientation_is_upright_for_gray_and_color(monkeypatch):
    monkeypatch.setattr("mmcv.imfrombytes", lambda data, flag, backend: PIXELS[..., : 3 if flag == "color" else 1])
    for flag in ("color", "grayscale"):
        image = decode_image(oriented("JPEG", 6), flag=flag, backend="turbojpeg")
        assert image.shape[:2] == PIXELS.shape[1::-1]
