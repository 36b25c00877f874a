"""Kills a run of the mini preset at random moments and lets it go on; it must end as one that was left alone.

    python -m tests.training.kills --kills 50 --workdir DIR

Every second step is saved, so that many of the kills hit a save.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cbvc_jax.training.checkpoints import Checkpoints
from tests.training.mini import clips, get_config

ROOT = Path(__file__).parents[2]


def write_data(folder: Path) -> None:
    """Photographs to train on."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips(4):
        Image.fromarray(clip.frames[0]).save(folder / f"{clip.name}.png")


def start(workdir: Path, data: Path) -> subprocess.Popen:
    """The training command, its output in a file beside the run's folder."""
    command = [sys.executable, "train.py", "--config", "tests/training/mini.py", "--workdir", str(workdir)]
    command += [f"--config.data.folders={data}", f"--config.data.cache={data.parent / 'cache'}"]
    with workdir.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)


def newest(workdir: Path) -> int:
    """Step of the newest checkpoint, 0 if there is none."""
    steps = [int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit()]
    return max(steps, default=0)


def run_whole(workdir: Path, data: Path) -> float:
    """A run left alone; returns its seconds."""
    began = time.monotonic()
    code = start(workdir, data).wait()
    if code:
        raise SystemExit(f"exit code {code}: {workdir.with_suffix('.log').read_text()[-2000:]}")
    return time.monotonic() - began


def run_killed(workdir: Path, data: Path, kills: int, seed: int) -> int:
    """A run that is killed up to `kills` times, each time a random moment after a new checkpoint; returns how often."""
    rng, done = random.Random(seed), 0
    while True:
        process, before = start(workdir, data), newest(workdir)
        while done < kills and process.poll() is None and newest(workdir) == before:
            time.sleep(0.005)
        if done < kills and process.poll() is None:
            time.sleep(rng.random() * 0.5)
            process.send_signal(signal.SIGKILL)
        code = process.wait()
        if code == -signal.SIGKILL:
            done += 1
        elif code:
            raise SystemExit(f"exit code {code}: {workdir.with_suffix('.log').read_text()[-2000:]}")
        else:
            return done


def differences(one: Path, other: Path) -> list[str]:
    """What differs between the ends of two runs: arrays by number, lines of metrics."""
    import jax

    config = get_config()
    states = [Checkpoints(folder, config).restore_latest() for folder in (one, other)]
    pairs = zip(*(jax.tree.leaves_with_path(s) for s in states), strict=True)
    found = [jax.tree_util.keystr(path) for (path, a), (_, b) in pairs if not np.array_equal(a, b)]
    lines = [(folder / "metrics.jsonl").read_text() for folder in (one, other)]
    return found + ["metrics.jsonl"] * (lines[0] != lines[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, required=True)
    args = parser.parse_args()
    args.workdir.mkdir(parents=True, exist_ok=True)
    data = args.workdir / "data"
    write_data(data)
    print(f"left alone: {run_whole(args.workdir / 'whole', data):.0f} s", flush=True)
    done, number = 0, 0
    while done < args.kills:
        folder = args.workdir / f"killed{number}"
        count = run_killed(folder, data, args.kills - done, args.seed + number)
        found = differences(args.workdir / "whole", folder)
        print(
            f"{folder.name}: {count} kills; {'DIFFERENT: ' + ', '.join(found) if found else 'bit-identical'}",
            flush=True,
        )
        if found or not count:
            sys.exit(1)
        done, number = done + count, number + 1


if __name__ == "__main__":
    main()
