"""The command goes over clips and rates, and does nothing twice."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from cbvc_jax.bitstream import StreamReader
from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.clips import find_clips
from cbvc_jax.export import tables
from cbvc_jax.export.tables import Plan, Points
from cbvc_jax.video import VideoInfo, create_video


@pytest.fixture
def clip(tmp_path, moving):
    file = tmp_path / "moving.y4m"
    with create_video(str(file), VideoInfo(64, 64, Fraction(1, 25), Fraction(25))) as video:
        for i, frame in enumerate(moving(4, 64, 64)):
            video.write(frame, i)
    return find_clips([str(file)])[0]


def test_forth_and_back_shows_no_frame_twice_in_a_row(mini, clip):
    shown = [f.rgb.tobytes() for f in Plan(mini, ("low",), 4, 9, forth_and_back=True).video(clip)]
    names = [shown.index(frame) for frame in shown]
    assert names == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_a_stream_is_kept_while_nothing_has_changed(tmp_path, mini, clip):
    plan = Plan(mini, ("low",), 9, 9, cuts=False, forth_and_back=True)
    points = Points(tmp_path / "out")
    first = points.load(plan, clip, "low")
    with points.stream(clip, "low").open("rb") as file:
        reader = StreamReader(file)
        reader.use_tables(mini.tables)
        assert [record.kind for record in reader] == ["key", *["predicted"] * 8]
    assert first["bpp"] == 8 * points.stream(clip, "low").stat().st_size / (64 * 64 * 9)
    points.save(clip, "low", {**first, "mark": 1})
    assert points.load(plan, clip, "low")["mark"] == 1
    other = Plan(mini, ("low",), 4, 9, cuts=False, forth_and_back=True)
    assert "mark" not in points.load(other, clip, "low")
    (tmp_path / "out" / "points" / "moving-low.json").write_text("{")
    with pytest.raises(UsageError, match="is no record of a point"):
        points.load(plan, clip, "low")


@pytest.mark.slow
def test_the_command_writes_tables_and_goes_on_where_it_stopped(tmp_path, mini, clip, capsys, monkeypatch):
    monkeypatch.setenv("CBVC_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    common = [str(clip.path), "--out", str(out), "--model", str(mini.path), "--rates", "low", "high"]
    assert tables.main([*common, "--backends", "jax-export"]) == 0
    told = capsys.readouterr()
    assert "| jax-export | 8 | 2 of 2 |" in told.out
    assert told.err.count("jax-export") == 2
    text = (out / "tables.md").read_text()
    assert text.count("](drift.svg)") == 1
    assert json.loads((out / "tables.json").read_text())[0]["title"] == "Every backend"
    assert tables.main([*common, "--backends", "jax-export"]) == 0
    assert capsys.readouterr().err == ""
    assert tables.main([*common, "--backends", "jax-export", "jax-bfloat16"]) == 0
    assert "jax-export" not in capsys.readouterr().err


def test_what_makes_no_sense_is_told(tmp_path, clip, capsys):
    common = [str(clip.path), "--out", str(tmp_path / "out")]
    assert tables.main([*common, "--forth-and-back"]) == 1
    assert "say how many --frames" in capsys.readouterr().err
    assert tables.main([*common, "--backends", "abacus"]) == 1
    assert "no backend 'abacus'" in capsys.readouterr().err
