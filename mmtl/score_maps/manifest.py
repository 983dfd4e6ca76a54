"""The JSON manifest of a finished store: what the maps are and which shards hold them."""

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
    """A shard as the manifest knows it."""

    file: str
    records: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything about a store except its maps.

    Attributes:
        settings: What all shards agree on: the layout, score type, annotator, preprocessing.
        shards: In the order of the index's shard numbers.
        index_sha256: Checksum of the index file.
        undecodable: Images that could not be decoded and have no map.
    """

    settings: dict[str, Any]
    shards: list[ShardEntry]
    index_sha256: str
    undecodable: list[str]

    @property
    def num_maps(self) -> int:
        """Maps in all shards."""
        return sum(shard.records for shard in self.shards)


def make_settings(layout: RecordLayout, annotator: dict | None, preprocessing: dict | None, **extra: Any) -> dict:
    """Settings as they are stored, in plain JSON types."""
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
    """Settings that differ, in words; empty when none."""
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(f"{name} ({_short(old.get(name))} / {_short(new.get(name))})" for name in names)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, the last file of a store to appear."""
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
    """Read and check a manifest.

    Raises:
        FileNotFoundError: There is no finished store in the folder.
        ScoreMapStoreError: The manifest is damaged or of a later version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise FileNotFoundError(_what_is_there(folder))
    try:
        content = json.loads(path.read_bytes())
        return _parse(content)
    except (ValueError, RecursionError) as error:
        raise ScoreMapStoreError(f"{path} is damaged or not a score map store: {error}.") from None


def _what_is_there(folder: Path) -> str:
    if any(folder.glob("shard-*.bin*")):
        return f"{folder} is an unfinished score map store: run the command that was making it again."
    return (
        f"{folder}: no score map store is there ({MANIFEST_NAME} is missing)."
        " `mim run mmtl make_score_maps` makes one."
    )


def _parse(content: Any) -> Manifest:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"format={FORMAT!r} is wanted")
    if content.get("version") != VERSION:
        raise ValueError(f"version {content.get('version')!r}, this mmtl reads version {VERSION}")
    entries, undecodable = content.get("shards"), content.get("undecodable")
    if not isinstance(entries, list) or not entries:
        raise ValueError("shards: a list is wanted")
    if not isinstance(undecodable, list) or not all(isinstance(key, str) for key in undecodable):
        raise ValueError("undecodable: a list of keys is wanted")
    for name in ("annotator", "preprocessing"):
        if not isinstance(content.get(name), dict):
            raise ValueError(f"{name}: an object is wanted")
    own = {"format", "version", "num_maps", "shards", "index_sha256", "undecodable"}
    settings = {name: value for name, value in content.items() if name not in own}
    layout_of(settings)
    shards = [_parse_shard(entry) for entry in entries]
    manifest = Manifest(settings, shards, _checked_sha(content.get("index_sha256")), undecodable)
    if content.get("num_maps") != manifest.num_maps or not manifest.num_maps:
        raise ValueError(f"num_maps={content.get('num_maps')!r}, the shards hold {manifest.num_maps}")
    return manifest


def _parse_shard(entry: Any) -> ShardEntry:
    if not isinstance(entry, dict) or set(entry) != {"file", "records", "bytes", "sha256"}:
        raise ValueError("a shard's entry has file, records, bytes and sha256")
    if not isinstance(entry["file"], str) or not SHARD_NAME.fullmatch(entry["file"]):
        raise ValueError(f"shard file {entry['file']!r}: a name like shard-00000.bin is wanted")
    for name in ("records", "bytes"):
        if type(entry[name]) is not int or not 0 <= entry[name] < 2**48:
            raise ValueError(f"shard {entry['file']}: {name}={entry[name]!r}")
    return ShardEntry(entry["file"], entry["records"], entry["bytes"], _checked_sha(entry["sha256"]))


def _checked_sha(value: Any) -> str:
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise ValueError(f"checksum {value!r}: 64 hexadecimal digits are wanted")
    return value
