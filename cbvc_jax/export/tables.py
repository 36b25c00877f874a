"""The cross-check over many clips and all rates: `python -m cbvc_jax.export.tables CLIP... --out DIR`.

    clip, rate --encode--> DIR/streams --crosscheck--> DIR/points/CLIP-RATE.json --> tables.json, tables.md, two SVGs

The tables are the counterparts of the paper's Tables 2 and 5 and Figure 9 (BD-rate and curves of every backend and
precision against JAX in float32, for the same streams), and what the backends differ by, frame by frame. A run that was
stopped goes on when the command is given again. The status is 0 if every float32 backend is within the tolerances.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.codec import encode
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.clips import Clip, find_clips
from cbvc_jax.evaluation.report.tables import markdown
from cbvc_jax.export.parity import Parity, ParityError, crosscheck
from cbvc_jax.export.summary import charts, summarise
from cbvc_jax.export.variants import choose
from cbvc_jax.video import VideoFrame
from cbvc_jax.video.atomic import Staging, write_whole
from cbvc_jax.weights import Model, load_model


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is coded, and how.

    Attributes:
      model: that codes.
      rates: of its predicted frames, a stream each.
      gop: frames from keyframe to keyframe.
      frames: of each clip; None for all there are.
      cuts: a keyframe where a new scene begins, too.
      forth_and_back: the clip is played forth, back, forth and so on until there are `frames`.
    """

    model: Model
    rates: tuple[str, ...]
    gop: int
    frames: int | None
    cuts: bool = True
    forth_and_back: bool = False

    def video(self, clip: Clip) -> Iterator[VideoFrame]:
        """The frames of a clip that are coded; played forth and back, the clip is held in memory."""
        if not self.forth_and_back:
            return itertools.islice(clip.video_frames(), self.frames)
        turns = itertools.islice(_forth_and_back(list(clip.rgb())), self.frames)
        # One tick a frame: nothing here looks at the time.
        return (VideoFrame(rgb, i) for i, rgb in enumerate(turns))

    def settings(self, clip: Clip, rate: str) -> dict[str, Any]:
        """What decides a point's figures, ready for JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("model", "rates")}
        return {"clip": clip.name, "rate": rate, "model_sha256": self.model.sha256.hex(), **fields}


def _forth_and_back(frames: Sequence[Any]) -> Iterator[Any]:
    """0 1 2 1 0 1 2 ...: no frame twice in a row, and no end."""
    return itertools.cycle([*frames, *frames[-2:0:-1]])


class Points:
    """Results on disk, one file a stream: what is there is not measured again."""

    def __init__(self, out: Path):
        self._out = out

    def load(self, plan: Plan, clip: Clip, rate: str) -> dict[str, Any]:
        """The point of a clip and a rate, with an encoded stream and the results that there are."""
        file, stream = self._file(clip, rate), self.stream(clip, rate)
        settings = plan.settings(clip, rate)
        if file.exists() and stream.exists():
            try:
                point = json.loads(file.read_text())
                if point["settings"] == settings and point["stream_sha256"] == _sha256(stream):
                    for fields in point["results"].values():
                        Parity(**fields)
                    return point
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(f"{file} is no record of a point ({error}); remove it") from None
        frames = _encode(plan, clip, rate, stream)
        size = stream.stat().st_size
        point = {
            "settings": settings,
            "stream_sha256": _sha256(stream),
            "width": clip.width,
            "height": clip.height,
            "bpp": 8.0 * size / (clip.width * clip.height * frames),
            "results": {},
        }
        self.save(clip, rate, point)
        return point

    def save(self, clip: Clip, rate: str, point: dict[str, Any]) -> None:
        """Writes a point; returns nothing."""
        write_whole(self._file(clip, rate), json.dumps(point) + "\n")

    def stream(self, clip: Clip, rate: str) -> Path:
        return self._out / "streams" / f"{clip.name}-{rate}.cbv"

    def _file(self, clip: Clip, rate: str) -> Path:
        return self._out / "points" / f"{clip.name}-{rate}.json"


def _encode(plan: Plan, clip: Clip, rate: str, target: Path) -> int:
    """Writes the stream of a clip at a rate, and returns its number of frames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    info = dataclasses.replace(clip.info, width=clip.width, height=clip.height)
    staging = Staging(target, overwrite=True)
    try:
        with staging.path.open("wb") as file:
            count = sum(1 for _ in encode(plan.video(clip), file, plan.model, info, rate, plan.gop, cuts=plan.cuts))
        staging.commit()
    except BaseException:
        staging.discard()
        raise
    return count


def measure(plan: Plan, clips: Iterable[Clip], names: Sequence[str], out: Path) -> Iterator[dict[str, Any]]:
    """Yields every point of the plan when it has been measured on the variants of these `names`, or has failed there.

    What fails is told on standard error, and tried again by the next run.
    """
    points = Points(out)
    for clip, rate in itertools.product(clips, plan.rates):
        point = points.load(plan, clip, rate)
        missing = [name for name in names if name not in point["results"]]

        def keep(parity: Parity, point: dict[str, Any] = point, clip: Clip = clip, rate: str = rate) -> None:
            point["results"].setdefault(parity.variant, dataclasses.asdict(parity))
            points.save(clip, rate, point)
            print(f"{clip.name} {rate}: " + " ".join(parity.cells()), file=sys.stderr, flush=True)

        if missing:
            try:
                crosscheck(
                    points.stream(clip, rate),
                    missing,
                    model=str(plan.model.path),
                    source=lambda clip=clip: (frame.rgb for frame in plan.video(clip)),
                    tell=keep,
                )
            except ParityError as error:
                print(f"{clip.name} {rate}: {error}", file=sys.stderr, flush=True)
        yield point


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, writes the tables, and returns 0, or 1 if a float32 backend is outside of the tolerances or failed."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.export.tables", description="The cross-check over many clips and all rates."
    )
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="videos, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything is kept and written")
    parser.add_argument("--model", default="tiny", help="name or folder of the model")
    parser.add_argument("--rates", nargs="+", metavar="RATE", help="default: all of the model")
    parser.add_argument("--gop", type=int, default=32, help="frames from keyframe to keyframe")
    parser.add_argument("--frames", type=int, metavar="N", help="of each clip, at the most")
    parser.add_argument("--backends", nargs="+", metavar="NAME", help="as of cbvc crosscheck; default: all there are")
    parser.add_argument("--no-cuts", action="store_true", help="no keyframe where a new scene begins")
    parser.add_argument("--forth-and-back", action="store_true", help="play clips forth and back until --frames")
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except CbvcError as error:
        print(f"tables: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    if args.frames is not None and args.frames < 1:
        raise UsageError(f"--frames {args.frames}: there must be at least one")
    if args.forth_and_back and args.frames is None:
        raise UsageError("--forth-and-back has no end: say how many --frames")
    use_compilation_cache()
    model = load_model(args.model)
    # Lowest rate first, as in every report.
    rates = tuple(args.rates or reversed(model.preset.rates))
    for rate in rates:
        model.preset.codebook_sizes(rate)
    plan = Plan(model, rates, args.gop, args.frames, not args.no_cuts, args.forth_and_back)
    names = [variant.name for variant in choose(args.backends)]
    clips = find_clips(args.clips)
    points = list(measure(plan, clips, names, args.out))
    tables, figures = summarise(points, names), charts(points, names)
    for name, svg in figures.items():
        write_whole(args.out / f"{name}.svg", svg)
    text = "\n".join([*map(markdown, tables), *(f"![{name}]({name}.svg)" for name in figures)]) + "\n"
    write_whole(args.out / "tables.md", text)
    listed = [dataclasses.asdict(table) for table in tables]
    write_whole(args.out / "tables.json", json.dumps(listed, indent=1, default=sorted) + "\n")
    print(text, end="")
    complete = all(name in point["results"] for point in points for name in names)
    return 0 if complete and all(r["passed"] is not False for p in points for r in p["results"].values()) else 1


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
