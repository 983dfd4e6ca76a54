"""The JSON manifest of a finished store: settings of the maps and the list of shards."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmtl.score_maps.layout import RecordLayout, layout_of
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.utils.atomic_file import atomic_file

MANIFEST_NAME = "manifest.json"
FORMAT = "mmtl score maps"
VERSION = 1
SHARD_NAME = re.compile(r"shard-\d{5,}\.bin")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ShardEntry:
    """A shard as listed in the manifest."""

    file: str
    records: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything about a store except its maps.

    Attributes:
        settings: What all shards share: layout, score type, annotator, preprocessing.
        shards: In the order of the index's shard numbers.
        index_sha256: Checksum of the index file.
        undecodable: Keys of images that could not be decoded and have no map.
    """

    settings: dict[str, Any]
    shards: list[ShardEntry]
    index_sha256: str
    undecodable: list[str]

    @property
    def num_maps(self) -> int:
        """Number of maps in all shards."""
        return sum(shard.records for shard in self.shards)


def make_settings(layout: RecordLayout, annotator: dict | None, preprocessing: dict | None, **extra: Any) -> dict:
    """Return the settings as they are stored, in plain JSON types."""
    settings = {
        "num_classes": layout.num_classes,
        "grid_hw": layout.grid_hw,
        "topk": layout.topk,
        "score_type": "logit",
        "score_bits": layout.score_bits,
        "log_norm": layout.log_norm,
        "annotator": annotator or {},
        "preprocessing": preprocessing or {},
        **extra,
    }
    return json.loads(json.dumps(settings))


def setting_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return the names and values of settings that differ; empty if none do."""
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(f"{name} ({_short(old.get(name))} / {_short(new.get(name))})" for name in names)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, the last file of a store."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "num_maps": manifest.num_maps,
        **manifest.settings,
        "shards": [asdict(shard) for shard in manifest.shards],
        "index_sha256": manifest.index_sha256,
        "undecodable": manifest.undecodable,
    }
    with atomic_file(folder / MANIFEST_NAME, durable=True) as temporary:
        temporary.write_bytes((json.dumps(content, indent=1) + "\n").encode())


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a folder.

    Raises:
        FileNotFoundError: The folder contains no finished store.
        ScoreMapStoreError: The manifest is corrupt or of a later version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise FileNotFoundError(_why_missing(folder))
    try:
        return _parse(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ScoreMapStoreError(f"{path} is corrupt or not a manifest of score maps: {error}") from None


def _why_missing(folder: Path) -> str:
    if any(folder.glob("shard-*.bin*")):
        return f"{folder} is an unfinished score map store. Run the command that makes it again."
    return (
        f"{folder} contains no score map store ({MANIFEST_NAME} is missing)."
        " Make one with `mim run mmtl make_score_maps`."
    )


def _parse(content: Any) -> Manifest:
    _require(isinstance(content, dict) and content.get("format") == FORMAT, f"its format must be {FORMAT!r}.")
    version = content.get("version")
    _require(version == VERSION, f"its version must be {VERSION} for this mmtl, got version {version!r}.")
    entries, undecodable = content.get("shards"), content.get("undecodable")
    _require(isinstance(entries, list) and len(entries) > 0, "shards must be a list.")
    _require(
        isinstance(undecodable, list) and all(isinstance(key, str) for key in undecodable),
        "undecodable must be a list of keys.",
    )
    for name in ("annotator", "preprocessing"):
        _require(isinstance(content.get(name), dict), f"{name} must be an object.")
    own = {"format", "version", "num_maps", "shards", "index_sha256", "undecodable"}
    settings = {name: value for name, value in content.items() if name not in own}
    layout_of(settings)
    shards = [_parse_shard(entry) for entry in entries]
    manifest = Manifest(settings, shards, _checked_sha(content.get("index_sha256")), undecodable)
    num_maps = manifest.num_maps
    _require(
        content.get("num_maps") == num_maps > 0,
        f"num_maps must be {num_maps} as in its shards and positive, got {content.get('num_maps')!r}.",
    )
    return manifest


def _parse_shard(entry: Any) -> ShardEntry:
    fields = {"file", "records", "bytes", "sha256"}
    _require(isinstance(entry, dict) and set(entry) == fields, f"a shard must have the fields {sorted(fields)}.")
    file = entry["file"]
    _require(
        isinstance(file, str) and SHARD_NAME.fullmatch(file) is not None,
        f"a shard's file must have a name like shard-00000.bin, got {file!r}.",
    )
    for name in ("records", "bytes"):
        number = entry[name]
        _require(type(number) is int and 0 <= number < 2**48, f"{name} of {file} must be a count, got {number!r}.")
    return ShardEntry(file, entry["records"], entry["bytes"], _checked_sha(entry["sha256"]))


def _checked_sha(value: Any) -> str:
    valid = isinstance(value, str) and SHA256.fullmatch(value) is not None
    _require(valid, f"a checksum must have 64 hexadecimal digits, got {value!r}.")
    return value


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
