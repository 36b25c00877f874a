"""What the encoder's search gains, and the time that it takes, all efforts side by side.

python -m cbvc_jax.benchmarks.effort CLIP... [--efforts 0 1 3 9] [--frames 12] [--rates low] [--levels 60] [--crop N N]

PSNR is over RGB, the mean over frames; bits are those of the whole stream. The first effort is what the others are
compared with. Efforts take turns, frame by frame, so that a machine that others use slows them alike; times are of the
process's processors: a keyframe's and the median predicted frame's, as they come in a GOP of the usual length.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cbvc_jax import markdown
from cbvc_jax.bitstream import StreamWriter
from cbvc_jax.codec import DEFAULT_GOP, Encoder, stream_header, usual_coding
from cbvc_jax.errors import CbvcError
from cbvc_jax.evaluation.clips import Clip, find_clips
from cbvc_jax.evaluation.metrics import psnr_rgb
from cbvc_jax.rate_control import Setting, setting_for
from cbvc_jax.weights import Model, load_model

WARM_FRAMES = 3
"""Coded once before, since they may compile."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A clip at one effort.

    Attributes:
      psnr_db: of each frame.
      size_bytes: of the stream.
      seconds: of processor time for a keyframe, and for a predicted frame.
    """

    psnr_db: np.ndarray
    size_bytes: int
    seconds: tuple[float, float]

    @property
    def frame_seconds(self) -> float:
        """Of processor time a frame, in a GOP of the usual length."""
        key, predicted = self.seconds
        return predicted + (key - predicted) / DEFAULT_GOP


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints a markdown table."""
    parser = argparse.ArgumentParser(prog="python -m cbvc_jax.benchmarks.effort", description=__doc__)
    parser.add_argument("clips", nargs="+", metavar="CLIP")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--efforts", nargs="+", type=int, default=[0, 1, 3, 9])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--rates", nargs="*", default=["low"])
    parser.add_argument("--levels", nargs="*", type=float, default=[], metavar="Q", help="qualities, 0 .. 100")
    parser.add_argument("--crop", nargs=2, type=int, metavar=("W", "H"), help="use only the centre of the frames")
    args = parser.parse_args(argv)
    from cbvc_jax.cache import use_compilation_cache

    use_compilation_cache()
    try:
        model = load_model(args.model)
        settings = {f"rate {rate}": Setting(rate, 0.0) for rate in args.rates}
        settings.update({f"quality {q:g}": setting_for(q, model.preset.rates) for q in args.levels})
        clips = find_clips(args.clips, args.frames, tuple(args.crop) if args.crop else None)
        print(markdown.head(("clip", "", "effort", "keyframe", "predicted", "the last quarter", "bytes", "time")))
        for clip, (name, setting) in itertools.product(clips, settings.items()):
            trials = run(model, clip, setting, args.efforts)
            for effort, trial in zip(args.efforts, trials, strict=True):
                print(markdown.row((clip.name, name, str(effort), *_cells(trial, trials[0]))), flush=True)
    except CbvcError as error:
        sys.exit(f"effort: {error}")
    return 0


def run(model: Model, clip: Clip, setting: Setting, efforts: Sequence[int]) -> list[Trial]:
    """The trial of each effort."""
    info = dataclasses.replace(clip.info, width=clip.width, height=clip.height)
    coding = usual_coding(setting.price > 0)
    header = stream_header(model, info, coding=coding)
    options: Any = {"rate": setting.rate, "price": setting.price, "skips": coding == "skipping"}

    def begin(effort: int) -> tuple[io.BytesIO, StreamWriter, Encoder]:
        file = io.BytesIO()
        writer = StreamWriter(file, header, model.tables)
        return file, writer, Encoder(model, clip.height, clip.width, effort=effort, **options)

    for effort in efforts:
        _, writer, encoder = begin(effort)
        for n, frame in enumerate(itertools.islice(clip.rgb(), WARM_FRAMES)):
            _push(writer, encoder, n, frame)
    files, writers, encoders = zip(*map(begin, efforts), strict=True)
    psnr: list[list[float]] = [[] for _ in efforts]
    times: list[list[float]] = [[] for _ in efforts]
    for n, frame in enumerate(clip.rgb()):
        for writer, encoder, gained, taken in zip(writers, encoders, psnr, times, strict=True):
            taken.append(_push(writer, encoder, n, frame))
            gained.append(float(psnr_rgb(frame[None], encoder.reconstruction()[None])[0]))
    for writer in writers:
        writer.finish()
    return [
        Trial(np.array(gained), len(file.getvalue()), (taken[0], float(np.median(taken[1:]))))
        for file, gained, taken in zip(files, psnr, times, strict=True)
    ]


def _push(writer: StreamWriter, encoder: Encoder, number: int, frame: np.ndarray) -> float:
    """Seconds of processor time that the encoder takes for the next frame of a stream."""
    start = time.process_time()
    coded = encoder.push(frame, chances=writer.chances)
    taken = time.process_time() - start
    writer.write(coded.kind, coded.rate, number, coded.indices, coded.skip)  # pyright: ignore
    return taken


def _cells(trial: Trial, first: Trial) -> Iterator[str]:
    gain: Any = trial.psnr_db - first.psnr_db
    for part in (gain[:1], gain[1:], gain[-(len(gain) // 4) :]):
        yield f"{np.mean(part):+.2f} dB"
    yield f"{100 * (trial.size_bytes / first.size_bytes - 1):+.1f} %"
    yield f"{trial.frame_seconds / first.frame_seconds:.1f} x"


if __name__ == "__main__":
    sys.exit(main())
