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
        if any(folder.glob("shard-*.bin*")):
            raise FileNotFoundError(f"{folder} is an unfinished score map store. Run the command that makes it again.")
        raise FileNotFoundError(
            f"{folder} contains no score map store ({MANIFEST_NAME} is missing)."
            " Make one with `mim run mmtl make_score_maps`."
        )
    try:
        return _parse(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ScoreMapStoreError(f"{path} is corrupt or not a manifest of score maps: {error}") from None


def _parse(content: Any) -> Manifest:
    _require(isinstance(content, dict) and content.get("format") == FORMAT, f"its format must be {FORMAT!r}.")
    version = content.pop("version", None)
    _require(version == VERSION, f"its version must be {VERSION} for this mmtl, got version {version!r}.")
    for name, kind in dict(annotator=dict, preprocessing=dict, shards=list, undecodable=list).items():
        _require(isinstance(content.get(name), kind), f"{name} must be a JSON {kind.__name__}.")
    undecodable, index_sha256 = content.pop("undecodable"), content.pop("index_sha256", None)
    _require(all(isinstance(key, str) for key in undecodable), "undecodable must be a list of keys.")
    _require_sha256(index_sha256)
    shards = [_parse_shard(entry) for entry in content.pop("shards")]
    del content["format"]
    num_maps = content.pop("num_maps", None)
    manifest = Manifest(content, shards, index_sha256, undecodable)
    layout_of(content)
    _require(
        num_maps == manifest.num_maps > 0,
        f"num_maps must be {manifest.num_maps} as in its shards and positive, got {num_maps!r}.",
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
    _require_sha256(entry["sha256"])
    return ShardEntry(**entry)


def _require_sha256(value: Any) -> None:
    valid = isinstance(value, str) and SHA256.fullmatch(value) is not None
    _require(valid, f"a checksum must have 64 hexadecimal digits, got {value!r}.")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
