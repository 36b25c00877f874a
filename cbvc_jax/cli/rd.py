"""`cbvc rd CLIP... --out DIR`: rate and distortion of models and conventional codecs, from real files, as a report.

Every clip is coded at every rate into a file, decoded by the ordinary decoder and compared with its source. DIR/points
holds every point as JSON, and a run that was stopped goes on from there; DIR/report.html, tables.md, points.csv and
bd_rate.csv show all points of DIR. Without a CLIP they are written again from what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbvc_jax.bitstream import STREAM_CODINGS
from cbvc_jax.cli.arguments import check_frames, parse_crop, parse_size
from cbvc_jax.cli.progress import note, progress
from cbvc_jax.errors import UsageError

if TYPE_CHECKING:
    from cbvc_jax.evaluation.measure import Task
    from cbvc_jax.evaluation.records import Records

FRAMES = 96


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("rd", help="measure rate and distortion", description=__doc__)
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="video, folder of pictures, or folder of these")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where points and report go")
    parser.add_argument(
        "--model",
        nargs="*",
        metavar="NAME",
        help="models or their folders (default: the bundled one); CURVE=NAME,NAME,... joins those of one rate each",
    )
    parser.add_argument("--rates", nargs="*", help="of the models (default: all they have; --rates alone: none)")
    parser.add_argument(
        "--levels", nargs="+", type=float, default=(), metavar="Q", help="qualities of the models, 0 .. 100, as a curve"
    )
    parser.add_argument(
        "--codings",
        nargs="+",
        choices=STREAM_CODINGS,
        default=(),
        help="of the indices, a curve each (default: as cbvc encode)",
    )
    parser.add_argument(
        "--efforts",
        nargs="+",
        type=int,
        default=(0,),
        metavar="N",
        help="of the models, 0 .. 9, a curve each",
    )
    parser.add_argument("--gop", nargs="+", type=int, metavar="N", help="of the models, a curve each (default 32)")
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"of each clip, from its start (default {FRAMES})")
    parser.add_argument("--crop", metavar="WxH", help="use only the centre of the frames; N: to multiples of N")
    parser.add_argument("--size", metavar="WxH", help="of raw .yuv; without it, its name says the size")
    parser.add_argument("--dataset", metavar="NAME", help="of the clips (default: that of their folder)")
    parser.add_argument(
        "--anchors",
        nargs="*",
        metavar="NAME",
        help="x264-crf, x264-qp, x265-crf, x265-qp (the paper's, GOP 12), x265-medium, x265-slow, svtav1, vvenc (GOP "
        "32), with another GOP as in x265-crf-gop32 (default x265-crf)",
    )
    parser.add_argument(
        "--qualities", nargs="+", type=float, default=(), metavar="Q", help="CRFs or QPs of the anchors"
    )
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME", help="lpips_vgg, lpips_alex, vmaf: slower, so on demand"
    )
    parser.add_argument(
        "--lpips-every", type=int, default=1, metavar="N", help="LPIPS of one frame in N only (best prime to the GOPs)"
    )
    parser.add_argument("--pictures", nargs="+", default=(), metavar="CLIP", help="names of clips to show pictures of")
    parser.add_argument(
        "--paper", metavar="NAME", help="as the paper's table1, table3, table4, table6 or figure12, or figures of these"
    )
    parser.add_argument("--baseline", metavar="SERIES", help="what others are compared with (default x265-crf-gop12)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="points measured at once (default 1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measures, writes the report, and returns 0, or 1 if a point could not be measured."""
    check_frames(args.frames)
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: there must be at least one")
    crop, size = parse_crop(args.crop), parse_size(args.size)
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.evaluation import paper, rd
    from cbvc_jax.evaluation.anchors import find_anchor
    from cbvc_jax.evaluation.clips import find_clips
    from cbvc_jax.evaluation.records import Records
    from cbvc_jax.evaluation.report.write import write_report
    from cbvc_jax.weights import DEFAULT_MODEL

    like = paper.preset_name(args.paper) if args.paper else None
    preset = paper.PRESETS[like] if like else paper.NO_PRESET
    models = tuple(args.model) if args.model is not None else (DEFAULT_MODEL,)
    baseline = args.baseline or preset.series(models)
    use_compilation_cache()
    records = Records(args.out)
    failed = 0
    if args.clips:
        names = preset.anchors if args.anchors is None else args.anchors
        plan = rd.Plan(
            models,
            rates=None if args.rates is None else tuple(args.rates),
            levels=tuple(args.levels),
            codings=tuple(args.codings or preset.codings),
            efforts=tuple(args.efforts),
            gops=tuple(args.gop or preset.gops),
            anchors=tuple(find_anchor(name) for name in names),
            qualities=tuple(args.qualities),
            metrics=tuple(args.metrics or preset.metrics),
            lpips_every=args.lpips_every,
            pictures=tuple(args.pictures),
        )
        clips = find_clips(args.clips, args.frames, crop, size, args.dataset)
        failed = _measure(rd.tasks(plan, clips, args.out), records, args.jobs)
        failed += _measure(rd.equal_rate_tasks(plan, clips, records, args.out, baseline), records, args.jobs)
        if preset.timed:
            _time(models, clips[0].height, clips[0].width, args.out)
    results = write_report(records, args.out, baseline, like)
    counts = f"{len(records)} points of {len(results.series)} codecs on {len(results.clips)} clips"
    print(f"{args.out / 'report.html'}: {counts}")
    return 1 if failed else 0


def _measure(wanted: list[Task], records: Records, jobs: int) -> int:
    """Measures the points that are missing, tells what goes wrong, and returns how many could not be measured."""
    from cbvc_jax.evaluation import rd

    failed = 0
    with progress("measure", len(wanted), "point") as bar:
        for task, error in rd.run(wanted, records, jobs):
            bar.set_postfix_str(f"{task.clip.name} {task.settings.series} {task.settings.setting}")
            bar.update()
            if error is not None:
                failed += 1
                note(error)
    return failed


def _time(models: Sequence[str], height: int, width: int, out: Path) -> None:
    """Times the parts of the models side by side, unless that is done; returns nothing."""
    from cbvc_jax.evaluation.measure import curve_models
    from cbvc_jax.evaluation.parts import PARTS, load_parts, measure_parts, save_parts
    from cbvc_jax.weights import load_model

    curves = map(curve_models, models)
    loaded = [dataclasses.replace(load_model(names[0]), name=curve) for curve, names in curves]
    done = [(one.name, one.sha256, one.width, one.height) for one in load_parts(out)]
    if done != [(model.name, model.sha256.hex(), width, height) for model in loaded]:
        with progress("time", len(loaded) * len(PARTS), "part") as bar:

            def tell(part: str) -> None:
                bar.set_postfix_str(part)
                bar.update()

            save_parts(out, measure_parts(loaded, height, width, tell=tell))
