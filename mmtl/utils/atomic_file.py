"""Files that bear their name only when they are whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which is renamed to ``path`` at the end, or removed when writing fails.

    Args:
        path: The file to appear; its folder is made, and what bears its name until then stays as it is.

    Raises:
        OSError: If the folder cannot be made, or a folder bears the name already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
