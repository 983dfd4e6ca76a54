"""The JSON manifest of a finished store: settings of the maps and the list of shards."""

import json
import os
import re
import reprlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmtl.score_maps.layout import RecordLayout, check_fields, layout_of
from mmtl.score_maps.score_map import ScoreMapStoreError, check_coverage
from mmtl.utils.atomic_file import write_durably

MANIFEST_NAME = "manifest.json"
FORMAT = "mmtl score maps"
VERSION = 1
SHARD_NAME = re.compile(r"shard-\d{5,}\.bin")
SHA256 = re.compile(r"[0-9a-f]{64}")
CLASS_TABLE = ("class_names", "class_folders")  # of an annotator's description


@dataclass(frozen=True)
class ShardEntry:
    """A shard as listed in the manifest."""

    file: str
    records: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything about a store except its maps."""

    settings: dict[str, Any]  # what all shards share: layout, score type, annotator, preprocessing
    shards: list[ShardEntry]  # in the order of the index's shard numbers
    index_sha256: str
    undecodable: list[str]  # keys of images that could not be decoded and have no map

    @property
    def coverage(self) -> str:
        """The region of an image that a map shows; stores of entire images, and all old ones, do not record it."""
        return self.settings.get("coverage", "whole")

    @property
    def num_maps(self) -> int:
        """Number of maps in all shards."""
        return sum(shard.records for shard in self.shards)


def make_settings(
    layout: RecordLayout, annotator: dict | None, preprocessing: dict | None, coverage: str = "whole", **extra: Any
) -> dict:
    """Return the settings as they are stored, in plain JSON types; maps of entire images do not state a coverage."""
    check_coverage(coverage)
    extra |= {} if coverage == "whole" else {"coverage": coverage}
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


def setting_difference(old: Any, new: Any) -> str:
    """Return the dotted names and values of settings that differ; empty if none do.

    Former versions knew fewer class names: a class table that only one side has, of the same weights, does not differ.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        unknown = (name for name in CLASS_TABLE if None in (old.get(name), new.get(name)))
        same_weights = old.get("weights_sha256", "") == new.get("weights_sha256")
        names = (old.keys() | new.keys()) - set(unknown if same_weights else ())
        names = sorted(name for name in names if old.get(name) != new.get(name))
        parts = [(name, setting_difference(old.get(name), new.get(name))) for name in names]
        return ", ".join(f"{name}.{part}" if part[:1] != "(" else f"{name} {part}" for name, part in parts if part)
    texts = str(old), str(new)
    # What is equal at the start of both is left out, so that long values show where they differ.
    skip = max(0, len(os.path.commonprefix(texts)) - 20) if max(map(len, texts)) > 60 else 0
    before, now = ("..." * (skip > 0) + text[skip : skip + 60] + "..." * (len(text) > skip + 60) for text in texts)
    return f"({before} / {now})"


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
    write_durably(folder / MANIFEST_NAME, (json.dumps(content, indent=1) + "\n").encode())


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
            f"{folder} contains no score map store ({MANIFEST_NAME} is missing). Make one with `mmtl make_score_maps`."
        )
    try:
        return _parse(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ScoreMapStoreError(f"{path} is corrupt or not a manifest of score maps: {error}") from None


def _parse(content: Any) -> Manifest:
    check_fields(content, {"format": str})
    _require(content["format"] == FORMAT, f"its format must be {FORMAT!r}.")
    version = content.get("version")
    _require(version == VERSION, f"its version must be {VERSION} for this mmtl, got version {version!r}.")
    kinds = dict(shards=list, index_sha256=str, undecodable=list, annotator=dict, preprocessing=dict)
    check_fields(content, kinds)
    _require(all(isinstance(key, str) for key in content["undecodable"]), "undecodable must be a list of keys.")
    _require_sha256(content["index_sha256"])
    own = {"format", "version", "num_maps", "shards", "index_sha256", "undecodable"}
    settings = {name: value for name, value in content.items() if name not in own}
    layout_of(settings)
    check_annotator(content["annotator"])
    check_coverage(settings.get("coverage", "whole"))
    shards = [_parse_shard(entry) for entry in content["shards"]]
    manifest = Manifest(settings, shards, content["index_sha256"], content["undecodable"])
    num_maps, expected = content.get("num_maps"), manifest.num_maps
    valid = num_maps == expected > 0
    _require(valid, f"num_maps must be {expected} as in its shards and positive, got {num_maps!r}.")
    return manifest


def check_annotator(annotator: dict[str, Any]) -> None:
    """Check what is read of the annotator's description, whose other entries are only shown."""
    for name in CLASS_TABLE:
        value = annotator.get(name)
        valid = value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))
        _require(valid, f"annotator.{name} must be a list of names, got {reprlib.repr(value)}.")
    indices = annotator.get("class_indices") or []
    valid = isinstance(indices, list) and all(isinstance(each, list) for each in indices)
    valid = valid and all(type(index) is int and index >= 0 for each in indices for index in each)
    _require(valid, f"annotator.class_indices must be lists of classes, got {reprlib.repr(indices)}.")


def _parse_shard(entry: Any) -> ShardEntry:
    check_fields(entry, dict(file=str, records=int, bytes=int, sha256=str))
    _require(len(entry) == 4, f"a shard must have the fields file, records, bytes, sha256, got {sorted(entry)}.")
    file = entry["file"]
    valid = SHARD_NAME.fullmatch(file) is not None
    _require(valid, f"a shard's file must have a name like shard-00000.bin, got {file!r}.")
    _require_sha256(entry["sha256"])
    return ShardEntry(**entry)


def _require_sha256(value: str) -> None:
    valid = SHA256.fullmatch(value) is not None
    _require(valid, f"a checksum must have 64 hexadecimal digits, got {value!r}.")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
