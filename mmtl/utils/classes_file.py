"""The file of class names and colors beside masks."""

import json
import os
from pathlib import Path

CLASSES_FILE = "classes.json"  # {"classes": [...], "palette": [[r, g, b], ...]}, beside masks


def known_classes(folder: str | Path) -> tuple[Path, dict] | None:
    """Return the classes.json of a folder of masks, in it or up to two folders above, and its content.

    Raises:
        ValueError: The file is not JSON. One without names is of another kind.
    """
    folder = Path(os.path.abspath(folder))
    for path in (parent / CLASSES_FILE for parent in (folder, *folder.parents[:2])):
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except OSError:
            continue
        except ValueError as error:
            raise ValueError(f"{path} is not a JSON file: {error}. Correct or remove it.") from error
        names = content.get("classes") if isinstance(content, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return path, content
    return None
