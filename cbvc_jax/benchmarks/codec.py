"""Speed and memory of encode and decode, each measurement in a process of its own.

python -m cbvc_jax.benchmarks.codec --model tiny [--sizes 448x256 1280x720] [--lengths 10 1000] [--parallel 1 2]
    [--quality 60] [--anchors x265-crf --crf 36]

Frames are the given video's, scaled, over and over. Times leave start-up and compilation out: they begin after the
first GOP's first two frames of each kind. Peak memory is the process's largest resident size, start-up included. Of
several repetitions, each of which is a process, the medians are shown; lengths take turns. `--anchors` times
conventional codecs on the same frames, from raw video to raw stream, the whole process of the encoder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from cbvc_jax import markdown
from cbvc_jax.errors import CbvcError

WARM_FRAMES = 2


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints a markdown table."""
    clip = str(resources.files("cbvc_jax") / "assets" / "clip" / "city_cc0.mp4")
    parser = argparse.ArgumentParser(prog="python -m cbvc_jax.benchmarks.codec", description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clip", default=clip, help="video whose frames are used")
    parser.add_argument("--rate", default="low")
    parser.add_argument("--quality", type=float, help="in place of a rate, as of `cbvc encode`")
    parser.add_argument("--sizes", nargs="+", default=["448x256", "1280x720", "1920x1080"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[66], help="frames to code")
    parser.add_argument("--parallel", nargs="+", type=int, default=[1], help="GOPs at once (default: 1)")
    parser.add_argument("--repetitions", type=int, default=1, help="of each row, whose medians are shown (default: 1)")
    parser.add_argument("--anchors", nargs="*", default=[], help="as of `cbvc rd`, such as x265-crf")
    parser.add_argument("--crf", type=float, default=36.0, help="of the anchors, or their QP (default: %(default)g)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(_measure(json.loads(args.one))))
        return 0
    # Not needed, and not loaded, in the processes that are measured.
    from cbvc_jax.evaluation.anchors import check_quality, find_anchor

    try:
        anchors = [find_anchor(name) for name in args.anchors]
        for anchor in anchors:
            check_quality(anchor, args.crf)
    except CbvcError as error:
        sys.exit(f"codec: {error}")
    print(markdown.head(("size", "frames", "GOPs at once", "", "fps", "peak MiB")))
    for size, parallel in itertools.product(args.sizes, args.parallel):
        rows: dict[tuple[int, str], list[dict[str, float]]] = {}
        for _, length in itertools.product(range(args.repetitions), args.lengths):
            with tempfile.TemporaryDirectory() as folder:
                file = str(Path(folder) / "stream.cbv")
                task = {**vars(args), "size": size, "length": length, "parallel": parallel, "file": file}
                for action in ("encode", "decode"):
                    rows.setdefault((length, action), []).append(_in_a_process({**task, "action": action}))
        for (length, action), found in rows.items():
            fps, peak = (statistics.median(row[name] for row in found) for name in ("fps", "peak_mib"))
            cells = (size, str(length), str(parallel), action, f"{fps:.1f}", f"{peak:.0f}")
            print(markdown.row(cells), flush=True)
    for size, anchor in itertools.product(args.sizes, anchors):
        length = max(args.lengths)
        fps = statistics.median(
            _anchor_fps({**vars(args), "size": size}, anchor, length) for _ in range(args.repetitions)
        )
        print(markdown.row((size, str(length), f"{anchor.name}, {args.crf:g}", "encode", f"{fps:.1f}", "")), flush=True)
    return 0


def _in_a_process(task: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "cbvc_jax.benchmarks.codec", "--one", json.dumps(task)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _video(task: dict[str, Any], length: int) -> tuple[Any, Iterator[Any]]:
    """The clip's first frames at the task's size, over and over, and what the video is."""
    import cbvc_jax

    width, height = map(int, task["size"].split("x"))
    with cbvc_jax.open_video(task["clip"], size=(width, height)) as video:
        info, kept = video.info, list(itertools.islice(video, 8))
    return info, (cbvc_jax.VideoFrame(kept[i % len(kept)].rgb, i) for i in range(length))


def _anchor_fps(task: dict[str, Any], anchor: Any, length: int) -> float:
    """Frames a second of a conventional encoder on the frames that ours is timed on."""
    import cbvc_jax
    from cbvc_jax.evaluation.anchors import encode_anchor
    from cbvc_jax.evaluation.clips import find_clips

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.y4m"
        info, frames = _video(task, length)
        with cbvc_jax.create_video(file, info) as out:
            for frame in frames:
                out.write(frame.rgb, frame.timestamp)
        (clip,) = find_clips([str(file)])
        began = time.perf_counter()
        encode_anchor(clip, anchor, task["crf"], Path(folder))
        return length / (time.perf_counter() - began)


def _measure(task: dict[str, Any]) -> dict[str, float]:
    import cbvc_jax
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.codec import usual_coding
    from cbvc_jax.process import peak_bytes
    from cbvc_jax.rate_control import setting_for

    use_compilation_cache()
    model = cbvc_jax.load_model(task["model"])
    steps: Iterator[Any]
    if task["action"] == "encode":
        info, frames = _video(task, task["length"])
        file = Path(task["file"]).open("wb")  # noqa: SIM115
        options: dict[str, Any] = {"rate": task["rate"], "parallel": task["parallel"]}
        if task["quality"] is not None:
            setting = setting_for(task["quality"], model.preset.rates)
            options |= {"rate": setting.rate, "price": setting.price, "coding": usual_coding(True)}
        steps = cbvc_jax.encode(frames, file, model, info, **options)
    else:
        file = Path(task["file"]).open("rb")  # noqa: SIM115
        steps = iter(cbvc_jax.StreamDecoder(file, model, parallel=task["parallel"]))
    with file:
        began = 0.0
        for i, _ in enumerate(steps):
            if i == WARM_FRAMES:
                began = time.perf_counter()
        seconds = time.perf_counter() - began
    return {"fps": (task["length"] - WARM_FRAMES - 1) / seconds, "peak_mib": peak_bytes() / 2**20}


if __name__ == "__main__":
    sys.exit(main())
