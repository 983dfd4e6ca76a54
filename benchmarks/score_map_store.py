"""Measure random reads from a score map store against one `.pt` file per map, and the overhead of opening a store.

python benchmarks/score_map_store.py --maps 100000 --lookups 1280000 --folder DIR

Prints one table: store, `.pt` files, ratio. DIR takes about 15 kB per map (100,000 maps: 1.5 GB) and is
emptied again.
"""

import argparse
import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mmtl.score_maps import ScoreMap, ScoreMapStore, ScoreMapWriter

GRID, TOPK, NUM_CLASSES = (18, 18), 5, 1000
READS = 20_000
BATCH = 64


def draw_maps(count: int, seed: int) -> ScoreMap:
    """Return synthetic maps stacked along the first axis."""
    rng = np.random.default_rng(seed)
    shape = (count, *GRID, TOPK)
    scores = -np.sort(-rng.normal(5, 3, shape).astype(np.float16), axis=-1)
    return ScoreMap(scores, rng.integers(0, NUM_CLASSES, shape, dtype=np.uint16), rng.normal(9, 1, shape[:3]))


def key_of(number: int) -> str:
    """Return a key like those of ImageNet."""
    return f"n{number // 1300:08d}/n{number // 1300:08d}_{number % 1300}.JPEG"


def write_both(folder: Path, count: int, files: int) -> None:
    """Write the maps as a store, and the first `files` of them in the released format with one file per image."""
    chunk = 1000
    with ScoreMapWriter(folder / "store", num_classes=NUM_CLASSES, grid_hw=GRID, topk=TOPK) as writer:
        for start in range(0, count, chunk):
            maps = draw_maps(min(chunk, count - start), seed=start)
            keys = [key_of(start + offset) for offset in range(len(maps.scores))]
            writer.add_batch(keys, *maps)
            for key, scores, classes in zip(keys, maps.scores, maps.classes, strict=True):
                if start < files:
                    _save_released_form(folder / "files" / key, scores, classes)


def _save_released_form(path: Path, scores: np.ndarray, classes: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    both = np.stack([scores, classes.astype(np.float16)]).transpose(0, 3, 1, 2)
    torch.save(torch.from_numpy(both.copy()), path.with_suffix(".pt"))


def reads_per_second(reads: dict[str, Callable], keys: list[str], rounds: int = 5) -> dict[str, float]:
    """Return the best of several alternating rounds over all keys; the first round warms the cache."""
    best = dict.fromkeys(reads, 0.0)
    for _ in range(rounds):
        for name, read in reads.items():
            start = time.perf_counter()
            for key in keys:
                read(key)
            best[name] = max(best[name], len(keys) / (time.perf_counter() - start))
    return best


def private_megabytes() -> float:
    """Return the memory of this process without file-backed pages (Linux); all processes share the mapped pages."""
    fields = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in fields if line.startswith("Private_Dirty")) / 1024


def opening_cost(path: Path, keys: list[str], results: object = None) -> tuple[float, float]:
    """Return seconds to open and private megabytes added by opening and a first read of `keys`."""
    for key in keys:  # a forked process copies the pages of the keys that it touches: not the store's cost
        key.encode()
    before = private_megabytes()
    start = time.perf_counter()
    store = ScoreMapStore(path)
    seconds = time.perf_counter() - start
    for key in keys:
        store[key]
    cost = seconds, private_megabytes() - before
    if results is not None:
        results.put(cost)
    return cost


def opening_cost_in_workers(path: Path, keys: list[str], workers: int) -> tuple[float, float]:
    """Return the maximum over several processes that open the store and read at once."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=opening_cost, args=(path, keys, results)) for _ in range(workers)]
    for process in processes:
        process.start()
    costs = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return max(cost[0] for cost in costs), max(cost[1] for cost in costs)


def lookup_cost(folder: Path, count: int) -> tuple[float, float, float]:
    """Return microseconds per lookup, seconds to open and private megabytes of a store of many tiny maps."""
    writer = ScoreMapWriter(folder, num_classes=10, grid_hw=(1, 1), topk=1)
    for start in range(0, count, 10_000):
        numbers = range(start, min(start + 10_000, count))
        zeros = np.zeros((len(numbers), 1, 1, 1), np.uint16)
        writer.add_batch([key_of(number) for number in numbers], zeros.astype(np.float16), zeros)
    writer.close()
    del writer
    keys = [key_of(number) for number in np.random.default_rng(0).permutation(count)[:READS]]
    seconds, megabytes = opening_cost(folder, keys)
    rate = reads_per_second({"store": ScoreMapStore(folder).__getitem__}, keys)["store"]
    return 1e6 / rate, seconds, megabytes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=100_000, help="maps also written one file per image")
    parser.add_argument("--lookups", type=int, default=1_280_000, help="keys of the lookup test")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True)
    try:
        write_both(arguments.folder, arguments.maps, arguments.files)
        _report(arguments.folder, arguments.maps, min(arguments.files, arguments.maps), arguments.lookups)
    finally:
        shutil.rmtree(arguments.folder)


def _report(folder: Path, count: int, files: int, lookups: int) -> None:
    order = np.random.default_rng(1).permutation(files)[:READS]
    keys = [key_of(number) for number in order]
    seconds, megabytes = opening_cost(folder / "store", keys)
    worker_seconds, worker_megabytes = opening_cost_in_workers(folder / "store", keys, workers=8)
    paths = {key: str((folder / "files" / key).with_suffix(".pt")) for key in keys}
    rates = reads_per_second(
        {
            "store": ScoreMapStore(folder / "store").__getitem__,
            "plain": lambda key: torch.load(paths[key], weights_only=True),
            "unsafe": lambda key: torch.load(paths[key], weights_only=False),
        },
        keys,
    )
    ours, plain, unsafe = rates.values()
    store = ScoreMapStore(folder / "store")
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    many = BATCH * reads_per_second({"store": store.read_many}, batches)["store"]
    lookup, open_seconds, open_megabytes = lookup_cost(folder / "lookup", lookups)
    rows = [
        (f"random reads/s, {count:,} maps of 18 x 18 x 5", f"{ours:,.0f}", f"{plain:,.0f}", f"{ours / plain:.1f} x"),
        ("  against torch.load(weights_only=False)", f"{ours:,.0f}", f"{unsafe:,.0f}", f"{ours / unsafe:.1f} x"),
        (f"  read_many, {BATCH} at a time", f"{many:,.0f}", f"{plain:,.0f}", f"{many / plain:.1f} x"),
        ("opening, ms", f"{1e3 * seconds:.1f}", "", ""),
        (f"private memory after {len(keys):,} reads, MB", f"{megabytes:.1f}", "", ""),
        ("  worst of 8 processes: opening, ms", f"{1e3 * worker_seconds:.1f}", "", ""),
        ("  worst of 8 processes: private memory, MB", f"{worker_megabytes:.1f}", "", ""),
        (f"{lookups:,} keys: lookup + read, microseconds", f"{lookup:.1f}", "", ""),
        (f"{lookups:,} keys: opening, ms", f"{1e3 * open_seconds:.1f}", "", ""),
        (f"{lookups:,} keys: private memory, MB", f"{open_megabytes:.1f}", "", ""),
    ]
    print(f"{'':52}{'store':>12}{'.pt files':>12}{'ratio':>10}")
    for name, *cells in rows:
        print(f"{name:52}{cells[0]:>12}{cells[1]:>12}{cells[2]:>10}")


if __name__ == "__main__":
    main()
