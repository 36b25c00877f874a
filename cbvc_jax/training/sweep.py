"""Runs a sweep, one task after the other, or prints its commands for a job array; gathers a table and a plot.

    python -m cbvc_jax.training.sweep --sweep configs/sweep_codebooks.py --workdir runs/k -- --config.data.folders=DIR

What follows `--` goes to every task. Tasks that have ended are not run again, and one that was stopped goes on from its
last checkpoint: the same command resumes a sweep. `--print` prints one command a task, and `--gather` only gathers.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cbvc_jax import markdown
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.training.configuration import check_fields, load_config, load_module
from cbvc_jax.video.atomic import write_whole

TRAIN = Path(__file__).parents[2] / "train.py"
SHOWN = ("step", "loss", "psnr/key", "bpp/key")


class Task:
    """One run of a sweep: its name, its folder, and the command that starts it or lets it go on."""

    def __init__(self, name: str, config: str, changes: dict[str, Any], folder: Path, more: list[str]):
        self.name, self.folder = name, folder / name
        values = [f"--config.{field}={value}" for field, value in changes.items()]
        self.command = [sys.executable, str(TRAIN), "--config", config, "--workdir", str(self.folder), *values, *more]

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return (self.folder / "done").exists()


def load_tasks(sweep: str, folder: Path, more: list[str]) -> list[Task]:
    """The tasks of a sweep file.

    Raises:
      UsageError: there is no such file, two tasks have one name, or a field that is changed does not exist.
    """
    module = load_module(sweep)
    config = load_config(module.CONFIG)
    found = list(module.get_sweep())
    if len({name for name, _ in found}) < len(found):
        raise UsageError(f"'{sweep}' gives two tasks the same name")
    for name, changes in found:
        try:
            check_fields(config, list(changes))
        except UsageError as error:
            raise UsageError(f"task '{name}': {error}") from error
    return [Task(name, module.CONFIG, changes, folder, more) for name, changes in found]


def run(tasks: list[Task]) -> bool:
    """Runs what has not ended yet; True if all has. A signal to stop is handed on to the task."""
    stopped: list[int] = []
    for task in tasks:
        if task.done or stopped:
            continue
        print(shlex.join(task.command), flush=True)
        process = subprocess.Popen(task.command)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _, p=process: (stopped.append(n), p.send_signal(signal.SIGTERM)))
        code = process.wait()
        if code:
            raise UsageError(f"task '{task.name}' ended with exit code {code}; the same command goes on from there")
    return all(task.done for task in tasks)


def gather(tasks: list[Task], folder: Path) -> Path:
    """Writes table.md and rd.png from the last line of every task's metrics, and returns the table's path.

    Rate: bits a pixel of predicted frames that the perplexities allow. PSNR: of training crops.
    """
    rows = [(task.name, _last_metrics(task)) for task in tasks]
    names = [*SHOWN, *sorted({k for _, m in rows for k in m if k.startswith(("psnr/", "bpp/", "usage/"))} - {*SHOWN})]
    lines = ([name, *(f"{m[k]:.4g}" if k in m else "" for k in names)] for name, m in rows)
    out = folder / "table.md"
    write_whole(out, markdown.table(["task", *names], lines) + "\n")
    _plot(rows, folder / "rd.png")
    return out


def _last_metrics(task: Task) -> dict[str, float]:
    file = task.folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1]) if lines else {}


def _plot(rows: list[tuple[str, dict[str, float]]], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="rate, bits a pixel", ylabel="PSNR of training crops, dB")
    kinds = sorted({k.removeprefix("psnr/") for _, m in rows for k in m if k.startswith("psnr/")})
    for kind in kinds:
        points = sorted((m[f"bpp/{kind}"], m[f"psnr/{kind}"], name) for name, m in rows if f"bpp/{kind}" in m)
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", label=kind)
        for bpp, psnr, name in points:
            axes.annotate(name, (bpp, psnr), textcoords="offset points", xytext=(4, 4), fontsize=8)
    if kinds:
        axes.legend()
    figure.savefig(out, dpi=150)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Runs a sweep of training runs, or prints its commands.")
    parser.add_argument("--sweep", required=True, help="file with CONFIG and get_sweep()")
    parser.add_argument("--workdir", required=True, type=Path, help="folder of the sweep, one below it a task")
    parser.add_argument("--print", action="store_true", help="print one command a task and do nothing")
    parser.add_argument("--gather", action="store_true", help="only gather table and plot")
    parser.add_argument("more", nargs="*", help="arguments for every task, after --")
    args = parser.parse_args(arguments)
    try:
        tasks = load_tasks(args.sweep, args.workdir, args.more)
        if args.print:
            print("\n".join(shlex.join(task.command) for task in tasks))
            return
        ended = args.gather or run(tasks)
        print(gather(tasks, args.workdir))
    except CbvcError as error:
        sys.exit(f"sweep: {error}")
    if not ended:
        print("stopped; the same command goes on from here")


if __name__ == "__main__":
    main(sys.argv[1:])
