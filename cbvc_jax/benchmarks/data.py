"""How fast training data comes: `python -m cbvc_jax.benchmarks.data --folders DIR --cache DIR [--step-ms 900]`.

Batches as the configuration `tiny` asks for them, made by one thread. Against the time that a step takes, if it is
given: the feed should be several times as fast, or the step waits. With `--tfds NAME --tfds-dir DIR` a prepared TFDS
data set is measured; with both, batch by batch in turns, and the ratio is told.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cbvc_jax.data.batches import BatchShape, ClipBatches
from cbvc_jax.data.clips import Clip, load_all

FIRST_BATCHES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", help="folders of training data, separated by ':'")
    parser.add_argument("--cache", type=Path, help="folder of decoded frames, which --folders needs")
    parser.add_argument("--tfds", help="prepared TFDS data sets, separated by ','")
    parser.add_argument("--tfds-dir", type=Path, default=Path("~/tensorflow_datasets"), help="where those lie")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--frames", type=int, default=7)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--step-ms", type=float, help="time of a step, as the metric time/step_ms says")
    args = parser.parse_args()
    if not (args.folders or args.tfds) or (args.folders and not args.cache):
        parser.error("name --folders and --cache, or --tfds")
    sources: dict[str, list[Clip]] = {}
    if args.folders:
        sources["folders"] = load_all(args.folders, args.cache, args.crop)
    if args.tfds:
        from cbvc_jax.data.tfds.reader import load_prepared

        sources["tfds"] = load_prepared(args.tfds, args.tfds_dir, args.crop)
    shape = BatchShape(args.batch, args.frames, 1, args.crop, 0.15)
    seconds = measure({name: ClipBatches(clips, shape, seed=0) for name, clips in sources.items()}, args.batches)
    frames = args.batch * args.frames
    for name, batch_s in seconds.items():
        print(f"{name}: {len(sources[name])} clips; a batch of {frames} frames of {args.crop}x{args.crop}: ", end="")
        print(f"{1e3 * batch_s:.2f} ms of a core, {frames / batch_s:.0f} frames a second a core")
        if args.step_ms:
            print(f"{args.step_ms / 1e3 / batch_s:.1f} times as fast as a step of {args.step_ms:.0f} ms")
    if len(seconds) > 1:
        print(f"tfds takes {seconds['tfds'] / seconds['folders']:.1f} times as long as folders")


def measure(sources: dict[str, ClipBatches], batches: int) -> dict[str, float]:
    """Seconds of a core for a batch of each source, the mean over `batches` of them made in turns."""
    spent = dict.fromkeys(sources, 0.0)
    for n in range(-FIRST_BATCHES, batches):
        for name, make in sources.items():
            began = time.process_time()
            make(n % batches)
            spent[name] += (time.process_time() - began) * (n >= 0)
    return {name: seconds / batches for name, seconds in spent.items()}


if __name__ == "__main__":
    main()
