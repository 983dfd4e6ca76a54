"""Download files once into torch's cache, and check them before they get their name."""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import torch
from mmengine.logging import print_log
from rich.console import Console
from rich.markup import escape
from rich.progress import wrap_file

from mmtl.utils.atomic_file import atomic_file

TIMEOUT = 30  # seconds without any data
CHUNK = 2**20
# In names of torch, timm and OpenMMLab. Eight digits are a date.
SHA256 = re.compile(r"-(?!\d{8}\.)([0-9a-f]{8,64})\.(?:pth|pt|bin|ckpt)(?:\.tar)?$")
DOWNLOAD_BY_HAND = "Download it by hand"  # begins the advice of an error


def cached_download(url: str, problem_of: Callable[[Path], str | None]) -> Path:
    """Return the file of a URL in ``checkpoints`` of torch's hub cache; download it if it is not there or not intact.

    Args:
        url: Address of a file, HTTP or HTTPS.
        problem_of: Returns what keeps a file from being intact, or None.

    Raises:
        OSError: The file cannot be downloaded, or is not what it should be; then nothing is stored.
    """
    path = cached_path(url)
    if not path.is_file() or problem_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            if not path.is_file() or problem_of(path):  # another rank may have it by now
                _download(url, path, problem_of)
                return path
    # Files of the same name at other addresses would be the same here.
    print_log(f"{path} is there already: {url} is not downloaded again", logger="current")
    return path


def cached_path(url: str) -> Path:
    """Return where `cached_download` keeps the file of a URL."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(unquote(urlsplit(url).path)).name or "index").expanduser()


def _download(url: str, path: Path, problem_of: Callable[[Path], str | None]) -> None:
    print_log(f"Download {url} to {path}", logger="current")
    with atomic_file(path) as part:
        digest = hashlib.sha256()
        with part.open("wb") as file:
            for chunk in _chunks(url, path):
                digest.update(chunk)
                file.write(chunk)
        problem, named, found = problem_of(part), SHA256.search(path.name), digest.hexdigest()
        if named and not problem and not found.startswith(named[1]):
            problem = f"its SHA-256 begins with {found[: len(named[1])]}, not with {named[1]} as in its name"
        if problem:
            raise _error(url, path, problem)


def _chunks(url: str, path: Path) -> Iterator[bytes]:
    """Yield the content of a URL, with a progress bar on standard error."""
    try:
        with urlopen(Request(url, headers={"User-Agent": "mmtl"}), timeout=TIMEOUT) as response:
            size, received = response.length, 0
            console = Console(stderr=True)
            with wrap_file(response, total=size or 0, description=escape(path.name), console=console) as stream:
                while chunk := stream.read(CHUNK):
                    received += len(chunk)
                    yield chunk
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an invalid address
        reason = error.reason if type(error) is URLError else error
        raise _error(url, path, str(reason) or type(error).__name__) from None
    if size and received != size:
        raise _error(url, path, f"the connection ended after {received:,} of {size:,} bytes")


def _error(url: str, path: Path, problem: str) -> OSError:
    remedy = f"{DOWNLOAD_BY_HAND} and give its path instead of the URL, or save it as {path}."
    return OSError(f"{url} cannot be downloaded: {problem}. {remedy}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let processes that download the same file, such as the ranks of a run, wait for the first of them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
