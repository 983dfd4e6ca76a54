"""Run every command of README and docs as printed, on small synthetic data.

    python tests/run_documented_commands.py [--page docs/own_data.md ...] [--wheel]

All commands run in one temporary folder, in the order of the pages; those that several pages have run once. What makes
long ones short is in helpers/documented_runs.py. With --wheel, mmtl is installed from a wheel, and the folder has
neither configs nor tools.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from helpers import documented_runs as table
from helpers.documented_commands import PAGES, Command, commands_of
from helpers.documented_data import write_documented_data
from helpers.paths import ROOT
from helpers.wheel import build_wheel
from mmengine.config import Config

from mmtl.utils.shipped_files import find_config

OF_A_CHECKOUT = ("configs", "tools", "benchmarks")
TIMEOUT = 900  # seconds


class Workspace:
    """A folder in which commands run.

    Attributes:
        root: the folder.
        done: commands that ran, with the values of words in capitals.
        shortened: work directory -> the name that the last checkpoint of a full run has.
    """

    def __init__(self, root: Path, package: Path | None) -> None:
        self.root, self.package = root, package
        self.done: set[str] = set()
        self.shortened: dict[Path, str] = {}
        write_documented_data(root)
        if package is None:
            for name in OF_A_CHECKOUT:
                (root / name).symlink_to(ROOT / name)
        self.prepared = {path.name for path in root.iterdir()} | {"work_dirs", "logs", "torch"}

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment of commands."""
        scripts = [*([self.package / "bin"] if self.package else []), Path(sys.executable).parent]
        path = ":".join([*map(str, scripts), os.environ["PATH"]])
        folders = {"PATH": path, "PYTHONPATH": str(self.package or ROOT), "TORCH_HOME": f"{self.root}/torch"}
        return {**os.environ, **table.ENVIRONMENT, **folders}

    @cached_property
    def makers(self) -> dict[str, str]:
        """File -> the first command of the pages that makes it."""
        makers = dict(table.MADE_BY)
        for page in PAGES:
            for command in commands_of(page.read_text(), page.name):
                row = row_of(command)
                text = substitute(" ".join(command.words), row)
                if row and re.match(r"(mmtl|mim) train ", text) and not re.search(r"-mmtl\b|--resume", text):
                    makers.setdefault(last_checkpoint(text), " ".join(command.words))
        return makers

    def start_page(self) -> None:
        """Remove what the page before has made beside its runs."""
        for path in self.root.iterdir():
            if path.name not in self.prepared and not path.name.endswith("-mmtl"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def run(self, command: Command) -> tuple[str, str]:
        """Run a command, after those that make what it reads; return what happened, and its reason."""
        text = " ".join(command.words)
        reasons = [reason for pattern, reason in table.NOT_RUN.items() if re.search(pattern, text)]
        if self.package and command.words[0] == "python":
            reasons.append("is a file of a checkout")
        if reasons:
            return "not run", reasons[0]
        row = row_of(command) or table.Row("")
        words = shlex.split(substitute(shlex.join(command.words), row))
        if shlex.join(words) in self.done:
            return "ran above", ""
        self.done.add(shlex.join(words))
        self.provide(words, row)
        options, reasons = reductions(words, row)
        words = [word for word in words if word not in table.REMOVED] + options
        for name in {row.fresh, *table.ALTERNATIVES} & set(words):
            shutil.rmtree(self.root / name, ignore_errors=True)
        self.execute(words)
        self.finish(words)
        return ("reduced", "; ".join(reasons)) if reasons else ("ran", "")

    def provide(self, words: list[str], row: table.Row) -> None:
        """Run the commands that make what a command reads and does not exist."""
        for name, path in table.DOWNLOADED.items():
            if any(word.endswith(f"/{name}") for word in words):
                cached = self.root / "torch/hub/checkpoints" / name
                self.make(path)
                cached.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.root / path, cached)
        read = [word.partition("=")[2] if "=" in word else word for word in words]
        for path in (*read, row.needs):
            if path in self.makers and path != row.fresh:
                self.make(path)

    def make(self, path: str) -> None:
        """Run the command that makes a file or folder, if it does not exist."""
        if not (self.root / path).exists():
            self.run(Command("", tuple(self.makers[path].split())))

    def execute(self, words: list[str]) -> None:
        """Run a command line.

        Raises:
            RuntimeError: It fails.
        """
        log = self.root / "logs" / f"{len(list((self.root / 'logs').glob('*'))):03}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("w") as file:
            file.write(f"$ {shlex.join(words)}\n")
            file.flush()
            options = dict(cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, timeout=TIMEOUT)
            code = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, **options).returncode
        if code:
            raise RuntimeError(f"exit code {code}; {log}:\n" + log.read_text()[-2000:])

    def finish(self, words: list[str]) -> None:
        """Shorten the project that `mmtl start` has written; name checkpoints of short runs as full runs name them."""
        if words[:2] == ["mmtl", "start"]:
            self.shorten(self.root / f"{words[2]}-mmtl")
        elif words[1:2] == ["train"] and not words[2].endswith("-mmtl"):
            self.expect(last_checkpoint(shlex.join(words)))
        for folder, name in self.shortened.items():
            made = sorted((self.root / folder).glob("*.pth"), key=lambda path: path.stat().st_mtime)
            if made and made[-1].name != name:
                (self.root / folder / name).unlink(missing_ok=True)
                os.link(made[-1], self.root / folder / name)

    def shorten(self, project: Path) -> None:
        """Change the first lines of a project's configs, and keep some of its images."""
        for config in project.glob("*.py"):
            self.expect(last_checkpoint(f"mmtl train {config}"))
            names = "epochs|max_iters|val_interval|batch_size"
            config.write_text(re.sub(rf"^({names}) = \d+", r"\1 = 2", config.read_text(), flags=re.MULTILINE))
        for lists in project.glob("*.txt"):
            lines = lists.read_text().splitlines(keepends=True)
            lists.write_text("".join(lines[:: table.EVERY]))
            for line in set(lines) - set(lines[:: table.EVERY]):
                (self.root / project.name.removesuffix("-mmtl") / line.split()[0]).unlink(missing_ok=True)

    def expect(self, checkpoint: str) -> None:
        """Note the last checkpoint of a run."""
        self.shortened[Path(checkpoint).parent] = Path(checkpoint).name


def row_of(command: Command) -> table.Row | None:
    """Return the row of a long command."""
    return next((row for row in table.LONG if re.search(row.pattern, " ".join(command.words))), None)


def substitute(text: str, row: table.Row | None) -> str:
    """Fill in the words that a page leaves to its reader."""
    for word, value in {**table.VALUES, **(row.values if row else {})}.items():
        text = re.sub(rf"(?<![\w/-]){re.escape(word)}(?![\w-])" if word[-1] != "/" else re.escape(word), value, text)
    return text


def reductions(words: list[str], row: table.Row) -> tuple[list[str], list[str]]:
    """Return the words that make a command short, and the reasons."""
    options, reasons = row.options.split(), [row.reason] if row.reason else []
    reasons += [reason for word, reason in table.REMOVED.items() if word in words]
    pattern, without, reason = table.NO_GPUS
    if re.search(pattern, " ".join(words)):
        options, reasons = [*without.split(), *options], [*reasons, reason]
    return options, reasons


def last_checkpoint(text: str) -> str:
    """Return the last checkpoint of the run of a training command, without regard to options that shorten it."""
    words = shlex.split(text)
    config = words[3] if words[0] == "mim" else words[2]
    cfg = Config.fromfile(find_config(ROOT / config))
    folder = words[words.index("--work-dir") + 1] if "--work-dir" in words else cfg.get("work_dir")
    name = f"epoch_{cfg.train_cfg.max_epochs}" if "max_epochs" in cfg.train_cfg else f"iter_{cfg.train_cfg.max_iters}"
    return f"{folder or f'work_dirs/{Path(config).stem}'}/{name}.pth"


def run_pages(workspace: Workspace, pages: list[Path]) -> Iterator[str]:
    """Run the commands of pages, print a line about each, and yield what happened."""
    for page in pages:
        workspace.start_page()
        for command in dict.fromkeys(commands_of(page.read_text(), page.name)):
            begin, error = time.perf_counter(), None
            try:
                kind, reason = workspace.run(command)
            except (RuntimeError, subprocess.TimeoutExpired) as caught:
                kind, reason, error = "FAILED", "", caught
            print(f"{kind:9} {time.perf_counter() - begin:6.1f} s  {command}{reason and f'  [{reason}]'}", flush=True)
            if error:
                print(error, flush=True)
            yield kind


def main() -> int:
    """Run the commands and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, nargs="+", help="only these pages (default: all)")
    parser.add_argument("--wheel", action="store_true", help="run them with mmtl installed from a wheel")
    parser.add_argument("--keep", type=Path, help="folder to run in, which is kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        package = None
        if args.wheel:
            package = Path(temporary, "package")
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", package]
            subprocess.run([*install, build_wheel(Path(temporary))], check=True)
        root = args.keep or Path(temporary, "commands")
        root.mkdir(parents=True, exist_ok=True)
        pages = [ROOT / page for page in args.page] if args.page else PAGES
        kinds = list(run_pages(Workspace(root.resolve(), package), pages))
    print(", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)))
    return int("FAILED" in kinds)


if __name__ == "__main__":
    sys.exit(main())
