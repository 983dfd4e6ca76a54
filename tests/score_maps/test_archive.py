import gzip
import io
import os
import shutil
import tarfile
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from helpers.score_map_makers import contents, write_store

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError, archive
from mmtl.score_maps.archive import ImageKeys, guess_num_classes
from mmtl.utils.tensor_bytes import tensor_from_bytes, tensor_to_bytes

PNG = ImageKeys(None, ".png")
import_archive = partial(archive.import_archive, read_tensor=tensor_from_bytes)
export_archive = partial(archive.export_archive, write_tensor=tensor_to_bytes)


@pytest.fixture
def exported(tmp_path):
    maps = write_store(tmp_path / "s", 12, log_norm=False)
    export_archive(ScoreMapStore(tmp_path / "s"), tmp_path / "files")
    return tmp_path / "files", maps


def pack(folder, path, mode="w:gz", prefix="."):
    with tarfile.open(path, mode) as tar:
        tar.add(folder, prefix)
    return path


def assert_holds(store, maps):
    assert sorted(store) == sorted(maps)
    for key, score_map in maps.items():
        np.testing.assert_array_equal(store[key].scores, score_map.scores)
        np.testing.assert_array_equal(store[key].classes, score_map.classes)


def test_an_exported_file_has_the_released_layout(exported):
    folder, maps = exported
    both = torch.load(folder / "a" / "3.pt", weights_only=True)
    assert both.shape == (2, 2, 3, 5) and both.dtype == torch.float16
    np.testing.assert_array_equal(both[0].permute(1, 2, 0), maps["a/3.png"].scores)
    np.testing.assert_array_equal(both[1].permute(1, 2, 0), maps["a/3.png"].classes)


def test_exported_files_contain_no_temporary_name_or_process_id(exported):
    content = (exported[0] / "a" / "3.pt").read_bytes()
    assert b".part" not in content and str(os.getpid()).encode() not in content


@pytest.mark.parametrize("jobs", [1, 2])
def test_importing_undoes_exporting_from_a_folder_and_from_archives(exported, tmp_path, jobs):
    folder, maps = exported
    sources = [folder, pack(folder, tmp_path / "x.tar.gz"), pack(folder, tmp_path / "x.tar", "w", "labels/train")]
    for number, source in enumerate(sources):
        import_archive(source, tmp_path / f"t{number}", 10, key_of=PNG, jobs=jobs)
        assert_holds(ScoreMapStore(tmp_path / f"t{number}"), maps)


def test_transposed_archives_are_transposed_back(exported, tmp_path):
    folder, maps = exported
    for path in folder.rglob("*.pt"):
        torch.save(torch.load(path, weights_only=True).transpose(2, 3).clone(), path)
    import_archive(folder, tmp_path / "t", 10, key_of=PNG, transposed=True)
    assert_holds(ScoreMapStore(tmp_path / "t"), maps)


def test_unsorted_maps_are_sorted(exported, tmp_path):
    folder, maps = exported
    for path in folder.rglob("*.pt"):
        torch.save(torch.load(path, weights_only=True).flip(1), path)
    import_archive(folder, tmp_path / "t", 10, key_of=PNG)
    store = ScoreMapStore(tmp_path / "t")
    np.testing.assert_array_equal(store["a/0.png"].scores, maps["a/0.png"].scores)


def stop_at_the_second():
    calls = []

    def stop(count):
        calls.append(count)
        if len(calls) == 2:
            raise KeyboardInterrupt

    return stop


def test_an_interrupted_import_continues(exported, tmp_path, monkeypatch):
    folder, maps = exported
    monkeypatch.setattr("mmtl.score_maps.archive.ENTRIES_PER_CHUNK", 4)
    with pytest.raises(KeyboardInterrupt):
        import_archive(folder, tmp_path / "t", 10, key_of=PNG, on_batch=stop_at_the_second(), shard_bytes=500)
    found = import_archive(folder, tmp_path / "t", 10, key_of=PNG, shard_bytes=500)
    assert 0 < found < 12
    import_archive(folder, tmp_path / "uninterrupted", 10, key_of=PNG, shard_bytes=500)
    assert contents(tmp_path / "t") == contents(tmp_path / "uninterrupted")


@pytest.mark.parametrize(("resumed", "entries_at_once"), [(False, 4), (False, 1000), (True, 4)])
def test_an_image_that_occurs_twice_is_refused_however_far_apart(
    exported, tmp_path, monkeypatch, resumed, entries_at_once
):
    folder, _ = exported
    shutil.copytree(folder / "a", folder / "z" / "a")
    monkeypatch.setattr("mmtl.score_maps.archive.ENTRIES_PER_CHUNK", entries_at_once)
    if resumed:
        with pytest.raises(KeyboardInterrupt):
            import_archive(folder, tmp_path / "t", 10, key_of=PNG, on_batch=stop_at_the_second(), shard_bytes=500)
    with pytest.raises(ValueError, match=r"a/0.pt occurs twice"):
        import_archive(folder, tmp_path / "t", 10, key_of=PNG, shard_bytes=500)
    assert not (tmp_path / "t" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["../evil.pt", "/etc/evil.pt", "a/../../evil.pt", "a\\..\\evil.pt"])
def test_paths_that_leave_the_archive_are_refused(tmp_path, name):
    buffer = io.BytesIO()
    torch.save(torch.zeros(2, 2, 3, 5, dtype=torch.float16), buffer)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = buffer.tell()
        tar.addfile(member, io.BytesIO(buffer.getvalue()))
    with pytest.raises(ValueError, match="leaves the archive"):
        import_archive(tmp_path / "x.tar", tmp_path / "t", 10, key_of=PNG)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_maps_that_are_links_in_an_archive_are_refused_not_skipped(exported, tmp_path, kind):
    pack(exported[0], tmp_path / "x.tar", "w")
    with tarfile.open(tmp_path / "x.tar", "a") as tar:
        member = tarfile.TarInfo("a/link.pt")
        member.type, member.linkname = kind, "../../etc/passwd"
        tar.addfile(member)
    with pytest.raises(ValueError, match=r"'a/link.pt' must be a regular file"):
        import_archive(tmp_path / "x.tar", tmp_path / "t", 10, key_of=PNG)
    assert not (tmp_path / "t").exists()


def test_empty_files_are_named(exported, tmp_path):
    (exported[0] / "a" / "empty.pt").touch()
    with pytest.raises(ValueError, match=r"a/empty.pt: it cannot be read as a tensor: it is empty"):
        import_archive(exported[0], tmp_path / "t", 10, key_of=PNG)


class Evil:
    def __reduce__(self):
        return (print, ("code from the archive ran",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), "b/bad.pt: it cannot be read as a tensor. No code from it was run"),
        (torch.zeros(3, 2, 3, 5), r"tensor \[2, k, h, w\]"),
        (torch.zeros(2, 0, 3, 5), r"\[2, 0, 3, 5\]"),
        ([1, 2], "b/bad.pt.*list"),
        (torch.zeros(2, 2, 3, 5, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(2, 2, 3, 5).to_sparse(), "torch.sparse_coo"),
        (torch.zeros(2, 2, 3, 5, device="meta"), "on meta"),
        (torch.zeros(2, 2, 3, 5), "a class twice in a cell"),
        (torch.full((2, 2, 3, 5), 10.0), "below --num-classes 10, got 10"),
        (torch.full((2, 2, 3, 5), 0.5), "integers"),
        (torch.full((2, 2, 3, 5), torch.nan), "finite"),
        (torch.arange(2.0).view(1, 2, 1, 1).repeat(2, 1, 4, 5), r"b/bad.pt: Scores and classes .*got \(4, 5, 2\)"),
    ],
)
def test_files_that_are_not_maps_are_named_and_no_store_is_left(exported, tmp_path, capsys, content, message):
    folder, _ = exported
    (folder / "b").mkdir()
    torch.save(content, folder / "b" / "bad.pt")
    with pytest.raises(ValueError, match=message):
        import_archive(folder, tmp_path / "t", 10, key_of=PNG)
    assert not (tmp_path / "t").exists() and capsys.readouterr().out == ""


def test_a_truncated_archive_is_refused(exported, tmp_path):
    path = pack(exported[0], tmp_path / "x.tar.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="corrupt"):
        import_archive(path, tmp_path / "t", 10, key_of=PNG)


def test_missing_and_empty_archives_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder or archive"):
        import_archive(tmp_path / "x.tar", tmp_path / "t", 10, key_of=PNG)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="contains no .pt file"):
        import_archive(tmp_path / "empty", tmp_path / "t", 10, key_of=PNG)


def test_class_counts_beyond_float16_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 2048.*got 5000"):
        import_archive(tmp_path, tmp_path / "t", 5000, key_of=PNG)
    write_store(tmp_path / "s", 1, num_classes=5000)
    with pytest.raises(ScoreMapStoreError, match="at most 2048.*got 5000"):
        export_archive(ScoreMapStore(tmp_path / "s"), tmp_path / "files")


def test_the_image_root_determines_the_suffix(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.JPEG").touch()
    key_of = ImageKeys(tmp_path, ".png")
    assert key_of("a/1") == "a/1.JPEG"
    with pytest.raises(ValueError, match="a/2.pt must have one image .*got none"):
        key_of("a/2")


@pytest.mark.parametrize("change", ["archive", "transposed", "keys"])
def test_an_interrupted_import_is_not_continued_with_another_source(exported, tmp_path, monkeypatch, change):
    """Guards: continued with another archive or ``--transposed``, an import mixed both, and verify found it intact."""
    folder, _ = exported
    monkeypatch.setattr("mmtl.score_maps.archive.ENTRIES_PER_CHUNK", 4)
    for path in folder.rglob("*.pt"):  # square maps, which fit either way
        torch.save(torch.load(path, weights_only=True)[..., :3].clone(), path)
    source = pack(folder, tmp_path / "x.tar", "w")
    with pytest.raises(KeyboardInterrupt):
        import_archive(source, tmp_path / "t", 10, key_of=PNG, on_batch=stop_at_the_second(), shard_bytes=300)
    if change == "archive":
        pack(folder, source, "w")
        os.utime(source, ns=(1, 1))  # of the same name and size
    keys = ImageKeys(None, ".jpg") if change == "keys" else PNG
    with pytest.raises(ScoreMapStoreError, match=r"other settings .*plan\."):
        import_archive(source, tmp_path / "t", 10, key_of=keys, transposed=change == "transposed", shard_bytes=300)


def test_a_finished_import_is_not_repeated(exported, tmp_path):
    for expected in (0, 12):
        assert import_archive(exported[0], tmp_path / "t", 10, key_of=PNG) == expected


def test_two_images_of_one_map_are_named(tmp_path):
    """Guards: of a.png and a.jpg, one was taken silently."""
    for name in ("1.png", "1.jpg", "1-2.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"1.pt must have one image .*got 2: 1.jpg, 1.png"):
        ImageKeys(tmp_path, ".png")("1")


def test_a_file_that_asks_for_memory_is_refused_before_it_is_read(exported, tmp_path):
    """Guards: a file of 1.6 kB asked for 25 GB."""
    folder, _ = exported
    torch.save(torch.zeros(1, dtype=torch.float16).expand(2, 5, 50_000, 50_000), folder / "a" / "0.pt")
    with pytest.raises(ValueError, match=r"a/0.pt: it must hold the values of its shape \[2, 5, 50000, 50000\]"):
        import_archive(folder, tmp_path / "t", 10, key_of=PNG)


def with_pickle(content, pickled):
    """Return a file of torch with another pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as records, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as changed:
        for name in records.namelist():
            changed.writestr(name, pickled if name.endswith("data.pkl") else records.read(name))
    return out.getvalue()


def test_a_pickle_or_legacy_file_that_asks_for_memory_is_refused_before_it_is_read(monkeypatch):
    """Guards: torch's safe reader calls bytearray, and makes storages of any size of its format before 1.6."""
    many = b"\x8a\x05" + (5 * 10**9).to_bytes(5, "little")
    pair = torch.arange(2 * 3 * 16).reshape(2, 3, 4, 4).half()
    legacy = io.BytesIO()
    torch.save(pair, legacy, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(tensor_from_bytes(legacy.getvalue()), pair)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read"))
    bytes_call = with_pickle(tensor_to_bytes(pair.numpy()), b"\x80\x02cbuiltins\nbytearray\n" + many + b"\x85R.")
    storage_call = with_pickle(tensor_to_bytes(pair.numpy()), b"\x80\x02ctorch\nHalfStorage\n" + many + b"\x85R.")
    assert legacy.getvalue().count(b"K`") >= 1  # 96 values
    for content in (bytes_call, storage_call, legacy.getvalue().replace(b"K`", many)):
        with pytest.raises(ValueError, match="cannot be read as a tensor"):
            tensor_from_bytes(content)


def test_sparse_members_and_broken_headers_are_refused(tmp_path):
    """Guards: the list of holes of a sparse member has any length, and tarfile raises other errors than its own."""
    member = tarfile.TarInfo("a/0.pt")
    member.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "x.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(ValueError, match="'a/0.pt' must not be sparse"):
        list(archive.archive_entries(tmp_path / "x.tar"))
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 4
    (tmp_path / "x.tar").write_bytes((member.tobuf() + b"name".ljust(512, b"\0")) * 5000)
    with pytest.raises(ValueError, match=r"x.tar is corrupt or not a tar archive"):
        list(archive.archive_entries(tmp_path / "x.tar"))


def test_headers_of_an_archive_are_not_kept(exported, tmp_path, monkeypatch):
    """Guards: those of a million files took a gigabyte."""
    source, opened, open_tar = pack(exported[0], tmp_path / "x.tar", "w"), [], tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda *a, **k: opened.append(open_tar(*a, **k)) or opened[-1])
    assert len(list(archive.archive_entries(source))) == 12 and len(opened[0].members) <= 1


def test_a_compressed_tensor_is_refused_before_it_is_read(exported, tmp_path):
    content = io.BytesIO()
    torch.save(torch.zeros(2, 5, 500, 500, dtype=torch.float16), content)
    path = exported[0] / "a" / "0.pt"
    with zipfile.ZipFile(content) as records, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in records.namelist():
            out.writestr(name, records.read(name))
    with pytest.raises(ValueError, match="its records are compressed"):
        import_archive(exported[0], tmp_path / "t", 10, key_of=PNG)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_that_asks_for_memory_is_refused_before_it_is_read(tmp_path, kind):
    """Guards: tarfile reads a long name of any length into memory."""
    with gzip.open(tmp_path / "x.tar.gz", "wb") as packed:
        member = tarfile.TarInfo("a/0.pt")
        member.type, member.size = kind, 2**32
        packed.write(member.tobuf() + bytes(2**16))
    with pytest.raises(ValueError, match="A header of the archive must have at most"):
        import_archive(tmp_path / "x.tar.gz", tmp_path / "t", 10, key_of=PNG)


def test_a_member_larger_than_any_map_is_refused_before_it_is_read(tmp_path):
    with gzip.open(tmp_path / "x.tar.gz", "wb") as packed:
        member = tarfile.TarInfo("a/0.pt")
        member.size = 2**36
        packed.write(member.tobuf() + bytes(2**20))
    with pytest.raises(ValueError, match="a/0.pt must have at most"):
        import_archive(tmp_path / "x.tar.gz", tmp_path / "t", 10, key_of=PNG)


@pytest.mark.parametrize(
    ("largest", "folders", "has_images", "expected"),
    [(9, 10, True, 10), (9, 10, False, 10), (998, 10, True, 1000), (998, 0, False, 1000), (9, 0, False, None),
     (9, 9, True, None), (1000, 10, True, None)],
)  # fmt: skip
def test_the_number_of_classes_is_guessed_from_folders_and_indices(tmp_path, largest, folders, has_images, expected):
    pair = np.stack([np.full((1, 1, 1), 5.0), np.full((1, 1, 1), largest)]).astype(np.float16)
    for number in range(max(folders, 1)):
        (tmp_path / "maps" / f"c{number}").mkdir(parents=True)
        (tmp_path / "maps" / f"c{number}" / "0.pt").write_bytes(tensor_to_bytes(pair))
        (tmp_path / "images" / f"c{number}").mkdir(parents=True)
        (tmp_path / "images" / f"c{number}" / "0.png").touch()
    source = tmp_path / "maps"
    if has_images or not folders:
        source = tmp_path / "maps.tar"
        with tarfile.open(source, "w") as archive:
            archive.add(tmp_path / "maps", "maps")
    images = tmp_path / "images" if has_images else None
    if expected is not None:
        assert guess_num_classes(source, images, read_tensor=tensor_from_bytes) == expected
        return
    with pytest.raises(ValueError, match=rf"--num-classes must be given, .*up to {largest}"):
        guess_num_classes(source, images, read_tensor=tensor_from_bytes)


def test_another_store_is_not_exported_to_the_same_folder(exported, tmp_path):
    """Guards: the maps of the first store were kept without a word."""
    folder, _ = exported
    export_archive(ScoreMapStore(tmp_path / "s"), folder)  # again
    write_store(tmp_path / "other", 3, seed=5)
    with pytest.raises(ScoreMapStoreError, match=r"0.pt contains another map than .*other"):
        export_archive(ScoreMapStore(tmp_path / "other"), folder)
