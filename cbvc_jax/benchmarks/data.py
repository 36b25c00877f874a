"""How fast training data comes: `python -m cbvc_jax.benchmarks.data --folders DIR --cache DIR [--step-ms 900]`.

Batches as the configuration `tiny` asks for them, made by one thread. Against the time that a step takes, if it is
given: the feed should be several times as fast, or the step waits.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cbvc_jax.data.batches import BatchShape, ClipBatches
from cbvc_jax.data.clips import load_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", required=True, help="folders of training data, separated by ':'")
    parser.add_argument("--cache", required=True, type=Path, help="folder of decoded frames")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--frames", type=int, default=7)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--step-ms", type=float, help="time of a step, as the metric time/step_ms says")
    args = parser.parse_args()
    clips = load_all(args.folders, args.cache, args.crop)
    batches = ClipBatches(clips, BatchShape(args.batch, args.frames, 1, args.crop, 0.15), seed=0)
    for n in range(5):
        batches(n)
    times = []
    for n in range(args.batches):
        began = time.process_time()
        batches(n)
        times.append(time.process_time() - began)
    batch_s = sum(times) / len(times)
    frames = args.batch * args.frames
    print(
        f"{len(clips)} clips; a batch of {frames} frames of {args.crop}x{args.crop}: {1e3 * batch_s:.2f} ms of a core"
    )
    print(f"{frames / batch_s:.0f} frames a second a core")
    if args.step_ms:
        print(f"{args.step_ms / 1e3 / batch_s:.1f} times as fast as a step of {args.step_ms:.0f} ms")


if __name__ == "__main__":
    main()
