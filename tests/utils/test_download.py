"""A URL is downloaded once, checked, and leaves nothing behind when it fails."""

import hashlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.file_server import FileServer, file_server
from helpers.makes_a_folder import MakesAFolder
from mmengine.runner import CheckpointLoader
from rich.console import Console

from mmtl.utils import download
from mmtl.utils.checkpoint import load_from_http, read_checkpoint

ERROR_PAGE = b"<!DOCTYPE html><html>Sign in</html>"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as server:
        server.files["w.pth"] = checkpoint()
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "hub" / "checkpoints"


def checkpoint(**extra) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {"a": torch.arange(5000.0)}, **extra}, file)
    return file.getvalue()


def load(url: str) -> dict:
    assert CheckpointLoader._get_checkpoint_loader(url) is load_from_http
    return CheckpointLoader.load_checkpoint(url, map_location="cpu")


def test_a_file_is_downloaded_once_with_a_progress_bar(server, cache, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(download, "Console", lambda stderr: Console(file=shown))
    logged = []
    monkeypatch.setattr(download, "print_log", lambda message, **options: logged.append(message))
    for _ in range(2):
        assert torch.equal(load(server.url + "w.pth?raw=true")["state_dict"]["a"], torch.arange(5000.0))
    assert server.requests == 1 and [path.name for path in cache.iterdir()] == ["w.pth"]
    assert "w.pth" in shown.getvalue()
    assert logged[0].startswith("Download ") and "w.pth is there already" in logged[1]


def test_tools_take_a_url_that_has_become_a_path(server):
    assert len(read_checkpoint(Path(server.url + "w.pth"))["state_dict"]["a"]) == 5000


def test_several_ranks_download_it_once(server):
    threads = [threading.Thread(target=load, args=(server.url + "w.pth",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.requests == 1


def test_a_file_without_a_stated_size_is_downloaded(server):
    server.fault = "without size"
    assert len(load(server.url + "w.pth")["state_dict"]["a"]) == 5000


@pytest.mark.parametrize(
    ("name", "content", "fault", "problem"),
    [
        ("w.pth", checkpoint(), "broken off", "the connection ended after [0-9,]+ of [0-9,]+ bytes"),
        ("w.pth", checkpoint(), "silent", "timed out|Remote end closed"),
        ("w.pth", checkpoint()[:-100], "", "it is missing or truncated"),
        (
            "w.pth",
            b"<!DOCTYPE html><html>Sign in</html>",
            "",
            "it is not a checkpoint of torch, perhaps an error page",
        ),
        ("w.pth", b"", "", "it is not a checkpoint of torch"),
        ("w-0123abcd.pth", checkpoint(), "", "its SHA-256 begins with [0-9a-f]{8}, not with 0123abcd as in its name"),
        ("w.pth", None, "", "HTTP Error 404: Not Found"),
        ("", None, "", "HTTP Error 404: Not Found"),
    ],
)
def test_a_failed_download_is_one_clear_message_and_leaves_no_file(
    server, cache, monkeypatch, name, content, fault, problem
):
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    server.files, server.fault = {name: content}, fault
    with pytest.raises(
        OSError, match=f"/releases/{name} cannot be downloaded: ({problem}).*Download it by hand and give"
    ):
        load(server.url + name)
    assert list(cache.iterdir()) == []


def test_an_address_where_nothing_answers_is_named(cache):
    with file_server() as closed:
        pass
    with pytest.raises(OSError, match=f"{closed.url}w.pth cannot be downloaded: .*refused.* by hand"):
        load(closed.url + "w.pth")


def test_the_hash_in_a_name_is_checked_and_a_date_is_not_a_hash(server):
    content = server.files["w.pth"]
    for part in (hashlib.sha256(content).hexdigest()[:8], "20211231"):
        server.files = {f"w-{part}.pth.tar": content}
        load(f"{server.url}w-{part}.pth.tar")


def test_a_corrupt_file_in_the_cache_is_downloaded_again(server, cache):
    cache.mkdir(parents=True)
    (cache / "w.pth").write_bytes(checkpoint()[:-100])
    assert len(load(server.url + "w.pth")["state_dict"]["a"]) == 5000


def test_code_in_a_downloaded_file_is_not_run(server, tmp_path):
    server.files["w.pth"] = checkpoint(code=MakesAFolder(tmp_path / "made"))
    with pytest.raises(ValueError, match="w.pth cannot be read as a checkpoint: it holds posix.mkdir"):
        load(server.url + "w.pth")
    assert not (tmp_path / "made").exists()
