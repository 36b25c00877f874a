"""Rate-distortion measurement of many clips: which points there are to measure, and measuring them one after the other.

clips x (models x rates x GOPs + anchors x qualities) --> tasks --> [measure] --> Records (a point at a time)
"""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cbvc_jax.bitstream import StreamCoding
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.codec import usual_coding
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.anchors import BASELINE, Anchor, check_quality
from cbvc_jax.evaluation.clips import Clip
from cbvc_jax.evaluation.ffmpeg import find_ffmpeg
from cbvc_jax.evaluation.measure import (
    EXTRA_METRICS,
    AnchorSettings,
    ModelSettings,
    Record,
    Task,
    curve_models,
    measure,
)
from cbvc_jax.evaluation.records import Records, picture_file
from cbvc_jax.rate_control import setting_for
from cbvc_jax.refinement import check_effort
from cbvc_jax.weights import load_model


@dataclass(frozen=True)
class Plan:
    """What to measure on every clip.

    Attributes:
      models: names or folders of models of ours; "NAME=MODEL,MODEL,..." makes one curve of several, as of models that
        have one rate each.
      rates: of those models; None for all that a model has.
      levels: qualities of those models, 0 to 100, which make a curve of their own.
      codings: of the indices, a curve each; what `cbvc encode` takes for a rate and for a quality when empty.
      efforts: of the encoder's search, a curve each.
      gops: frames from keyframe to keyframe, one curve each.
      anchors: conventional codecs.
      qualities: CRFs or QPs of the anchors; their own when empty.
      metrics: out of `EXTRA_METRICS`, besides PSNR and MS-SSIM.
      lpips_every: LPIPS is measured on one frame of so many.
      pictures: names of the clips whose pictures the report may show.
    """

    models: tuple[str, ...]
    rates: tuple[str, ...] | None = None
    levels: tuple[float, ...] = ()
    codings: tuple[StreamCoding, ...] = ()
    efforts: tuple[int, ...] = (0,)
    gops: tuple[int, ...] = (32,)
    anchors: tuple[Anchor, ...] = ()
    qualities: tuple[float, ...] = ()
    metrics: tuple[str, ...] = ()
    lpips_every: int = 1
    pictures: tuple[str, ...] = ()


def tasks(plan: Plan, clips: Sequence[Clip], out: Path) -> list[Task]:
    """Every point of the plan, clip by clip.

    Raises:
      ModelError: a model is missing or damaged, or lacks a rate.
      UsageError: a GOP, quality, metric or clip makes no sense, or a program that is needed is missing.
    """
    unknown = set(plan.pictures) - {clip.name for clip in clips}
    if unknown:
        raise UsageError(f"pictures of '{sorted(unknown)[0]}' were asked for, but there is no such clip")
    if set(plan.metrics) - set(EXTRA_METRICS):
        raise UsageError(f"the metrics beside PSNR and MS-SSIM are {', '.join(EXTRA_METRICS)}")
    if plan.lpips_every < 1:
        raise UsageError(f"LPIPS of one frame in {plan.lpips_every} makes no sense: it takes at least 1")
    if plan.gops and min(plan.gops) < 1:
        raise UsageError(f"a GOP of {min(plan.gops)} frames makes no sense: it takes at least 1")
    for effort in plan.efforts:
        check_effort(effort)
    for level in plan.levels:
        setting_for(level)
    if "vmaf" in plan.metrics:
        find_ffmpeg()
    settings = [*_model_settings(plan), *_anchor_settings(plan)]
    if not settings:
        raise UsageError("there is nothing to measure: name a model or an anchor")
    seen: dict[tuple[str, str], ModelSettings] = {}
    for one in (s for s in settings if isinstance(s, ModelSettings)):
        if seen.setdefault((one.series, one.setting), one).sha256 != one.sha256:
            name = one.curve or Path(one.model).name
            raise UsageError(f"two models are called '{name}' and have one rate; give them different names")
    return [_task(plan, clip, one, out) for clip in clips for one in settings]


def _task(plan: Plan, clip: Clip, settings: ModelSettings | AnchorSettings, out: Path) -> Task:
    picture = picture_file(out, clip.name, settings.series, settings.setting, clip.name in plan.pictures)
    return Task(clip, settings, plan.metrics, plan.lpips_every, picture)


def equal_rate_tasks(
    plan: Plan, clips: Sequence[Clip], records: Records, out: Path, baseline: str | None = None
) -> list[Task]:
    """Points of one anchor at the rates of ours, for the clips whose pictures are shown side by side.

    Its CRF or QP is read off its own points, straight in log rate; where these do not enclose our rate, there is none.

    Args:
      plan, clips, out: as of `tasks`.
      records: with the points of `tasks`.
      baseline: name of the anchor; without it the one that reports prefer, or the first.
    """
    ours = list(_model_settings(plan))
    anchors = sorted(plan.anchors, key=lambda a: a.name != (baseline or BASELINE))
    theirs = [s for s in _anchor_settings(plan) if s.anchor == anchors[0]]
    found = []
    for clip in (c for c in clips if c.name in plan.pictures and theirs):
        rates, known = ([records.bpp(_task(plan, clip, s, out)) for s in settings] for settings in (ours, theirs))
        points = sorted((bpp, s.quality) for bpp, s in zip(known, theirs, strict=True) if bpp)
        for bpp in (r for r in rates if r and points and points[0][0] <= r <= points[-1][0]):
            exact = np.interp(np.log(bpp), np.log([p[0] for p in points]), [p[1] for p in points])
            quality = round(float(exact), anchors[0].decimals)
            found.append(_task(plan, clip, AnchorSettings(anchors[0], quality), out))
    return list(dict.fromkeys(found))


def _model_settings(plan: Plan) -> Iterator[ModelSettings]:
    curves = map(curve_models, plan.models)
    for curve, name in ((curve, name) for curve, names in curves for name in names):
        model = load_model(name)
        # Lowest rate first, as the anchors' points.
        rates = tuple(reversed(model.preset.rates)) if plan.rates is None else plan.rates
        for rate in rates:
            model.preset.codebook_sizes(rate)
        amounts = (*rates, *sorted(plan.levels))
        curves_of = itertools.product(plan.gops, plan.codings or (None,), plan.efforts, amounts)
        for gop, coding, effort, amount in curves_of:
            if coding != "fixed" or isinstance(amount, str):
                chosen = coding or usual_coding(not isinstance(amount, str))
                yield ModelSettings(name, model.sha256.hex(), gop, amount, chosen, curve, effort)


def _anchor_settings(plan: Plan) -> Iterator[AnchorSettings]:
    for anchor in plan.anchors:
        for quality in plan.qualities or anchor.qualities:
            check_quality(anchor, quality)
            yield AnchorSettings(anchor, quality)


def run(wanted: Sequence[Task], records: Records, jobs: int = 1) -> Iterator[tuple[Task, str | None]]:
    """Measures every task that `records` does not hold and adds it there; yields each when done, with an error if any.

    A point that cannot be measured does not keep the others from it.

    Args:
      wanted: from `tasks`.
      records: where the points are kept.
      jobs: processes to measure in. With more than one, frames a second are those of a machine at work.
    """
    missing: list[Task] = []
    for task in wanted:
        if records.holds(task):
            yield task, None
        else:
            missing.append(task)
    for task, record, error in _one_by_one(missing) if jobs <= 1 else _in_parallel(missing, jobs):
        if record is not None:
            records.add({**record, "jobs": jobs})
        yield task, error


Outcome = tuple[Task, Record | None, str | None]


def _one_by_one(missing: Sequence[Task]) -> Iterator[Outcome]:
    return (_measured(task) for task in missing)


def _in_parallel(missing: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    # A fresh interpreter each: JAX does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="cbvc-rd-") as folder,
        ProcessPoolExecutor(jobs, context, initializer=_start_process, initargs=(folder,)) as pool,
    ):
        try:
            for future in as_completed([pool.submit(_measured, task) for task in missing]):
                yield future.result()
        except BrokenProcessPool:
            raise UsageError(
                "a process that was measuring was killed, perhaps for memory; the same command goes on from here, "
                "and fewer --jobs take less"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _start_process(folder: str) -> None:
    """Prepares a process that measures: what it leaves when it is terminated lies in a folder that we remove."""
    use_compilation_cache()
    tempfile.tempdir = folder


def _measured(task: Task) -> Outcome:
    """The outcome of one task; errors as text, which any process can send to another."""
    try:
        return task, measure(task), None
    except CbvcError as error:
        return task, None, f"{task.clip.name}, {task.settings.series} {task.settings.setting}: {error}"
