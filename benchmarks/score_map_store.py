"""Measure random reads from a score map store against one `.pt` file per map, and the overhead of opening a store.

python benchmarks/score_map_store.py --maps 100000 --lookups 1280000 --folder DIR

Prints one table: store, `.pt` files, ratio. DIR takes about 15 kB per map (100,000 maps: 1.5 GB) and is emptied
again. `--clock cpu` counts processor time, for a machine that is busy with other work.
"""

import multiprocessing
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import CLOCKS, alternate, make_parser

from mmtl.score_maps import ScoreMapStore, ScoreMapWriter

READS = 20_000
BATCH = 64
WORKERS = 8
FORM = dict(num_classes=1000, grid_hw=(18, 18), topk=5)
TINY_FORM = dict(num_classes=10, grid_hw=(1, 1), topk=1)


def key_of(number: int) -> str:
    """Return a key like those of ImageNet."""
    return f"n{number // 1300:08d}/n{number // 1300:08d}_{number % 1300}.JPEG"


def random_keys(count: int) -> list[str]:
    """Return the keys to read, of the first maps of a store."""
    return [key_of(number) for number in np.random.default_rng(1).permutation(count)[:READS]]


def write_store(folder: Path, count: int, form: dict) -> None:
    """Write a store of synthetic maps."""
    rng = np.random.default_rng(0)
    with ScoreMapWriter(folder, **form) as writer:
        for start in range(0, count, 1000):
            keys = [key_of(number) for number in range(start, min(start + 1000, count))]
            shape = (len(keys), *form["grid_hw"], form["topk"])
            scores = -np.sort(-rng.normal(5, 3, shape).astype(np.float16), axis=-1)
            classes = rng.integers(0, form["num_classes"], shape, dtype=np.uint16)
            writer.add_batch(keys, scores, classes, rng.normal(9, 1, shape[:3]))


def write_files(store: ScoreMapStore, folder: Path, count: int) -> None:
    """Write the first maps in the released format with one file per image."""
    for key in map(key_of, range(count)):
        scores, classes, _ = store[key]
        path = (folder / key).with_suffix(".pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        pair = np.stack([scores, classes.astype(np.float16)]).transpose(0, 3, 1, 2)
        torch.save(torch.from_numpy(pair.copy()), path)


def reads_per_second(reads: dict[str, Callable], keys: list, clock: Callable[[], float]) -> dict[str, float]:
    """Return the median of five alternating rounds over all keys; a first round warms the cache."""
    ways = {name: partial(_read_all, read, keys) for name, read in reads.items()}
    return {name: len(keys) / seconds for name, seconds in alternate(ways, rounds=5, clock=clock).items()}


def _read_all(read: Callable, keys: list) -> None:
    for key in keys:
        read(key)


def private_megabytes() -> float:
    """Return the memory of this process without file-backed pages (Linux); all processes share the mapped pages."""
    fields = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in fields if line.startswith("Private_Dirty")) / 1024


def opening_cost(path: Path, keys: list[str]) -> tuple[float, float]:
    """Return milliseconds to open and private megabytes added by opening and a first read of `keys`."""
    for key in keys:  # a forked process copies the pages of the keys that it touches: not the store's cost
        key.encode()
    before, start = private_megabytes(), time.perf_counter()
    store = ScoreMapStore(path)
    milliseconds = 1e3 * (time.perf_counter() - start)
    for key in keys:
        store[key]
    return milliseconds, private_megabytes() - before


def opening_cost_in_workers(path: Path, keys: list[str]) -> tuple[float, float]:
    """Return the maximum over several processes that open the store and read at once."""
    with multiprocessing.get_context("fork").Pool(WORKERS, maxtasksperchild=1) as pool:
        costs = pool.starmap(opening_cost, [(path, keys)] * WORKERS, chunksize=1)
    return tuple(np.max(costs, axis=0))


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, devices=(), maps=100_000, files=100_000, lookups=1_280_000, clock="wall")
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True)
    try:
        print(f"{'':52}{'store':>12}{'.pt files':>12}{'ratio':>10}")
        _report_reads(args.folder, args.maps, min(args.files, args.maps), CLOCKS[args.clock])
        _report_lookups(args.folder / "lookup", args.lookups, CLOCKS[args.clock])
    finally:
        shutil.rmtree(args.folder)


def _report_reads(folder: Path, count: int, files: int, clock: Callable[[], float]) -> None:
    path, keys = folder / "store", random_keys(files)
    write_store(path, count, FORM)
    opening, megabytes = opening_cost(path, keys)
    worst_opening, worst_megabytes = opening_cost_in_workers(path, keys)
    store = ScoreMapStore(path)
    write_files(store, folder / "files", files)
    paths = {key: str((folder / "files" / key).with_suffix(".pt")) for key in keys}
    reads = {
        "store": store.__getitem__,
        "plain": lambda key: torch.load(paths[key], weights_only=True),
        "unsafe": lambda key: torch.load(paths[key], weights_only=False),
    }
    ours, plain, unsafe = reads_per_second(reads, keys, clock).values()
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    many = len(keys) / len(batches) * reads_per_second({"many": store.read_many}, batches, clock)["many"]
    for name, rate, other in (
        (f"random reads/s, {count:,} maps of 18 x 18 x 5", ours, plain),
        ("  against torch.load(weights_only=False)", ours, unsafe),
        (f"  read_many, {BATCH} at a time", many, plain),
    ):
        print(f"{name:52}{rate:12,.0f}{other:12,.0f}{rate / other:8.1f} x")
    for name, value in (
        ("opening, ms", opening),
        (f"private memory after {len(keys):,} reads, MB", megabytes),
        (f"  worst of {WORKERS} processes: opening, ms", worst_opening),
        (f"  worst of {WORKERS} processes: private memory, MB", worst_megabytes),
    ):
        print(f"{name:52}{value:12.1f}")


def _report_lookups(path: Path, count: int, clock: Callable[[], float]) -> None:
    write_store(path, count, TINY_FORM)
    keys = random_keys(count)
    opening, megabytes = opening_cost(path, keys)
    store = ScoreMapStore(path)
    rates = reads_per_second({"lookup": store.__contains__, "read": store.__getitem__}, keys, clock)
    for name, value in (
        ("lookup, microseconds", 1e6 / rates["lookup"]),
        ("lookup + read, microseconds", 1e6 / rates["read"]),
        ("opening, ms", opening),
        ("private memory, MB", megabytes),
    ):
        print(f"{f'{count:,} keys: {name}':52}{value:12.1f}")


if __name__ == "__main__":
    main()
