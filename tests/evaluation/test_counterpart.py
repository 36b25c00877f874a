"""The paper's tables with ours in them: every row says whose it is, and ours are those of the curves."""

from __future__ import annotations

import math

import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation import paper
from cbvc_jax.evaluation.anchors import PATTERN
from cbvc_jax.evaluation.curve import bd_rate
from cbvc_jax.evaluation.parts import ModelParts
from cbvc_jax.evaluation.report.counterpart import complexity_table, counterpart
from cbvc_jax.evaluation.report.curves import Results

from .results import ANCHOR, CLIPS, CURVES, OURS, record, records


def rows(table, whose):
    return [row for row in table.rows if row[1] == whose]


def parts(name, scale, **seconds):
    facts = {"width": 64, "height": 48, "device": "cpu", "parameters": 2_000_000, "macs": int(3e12)}
    return ModelParts(name, "", **facts, context_macs=1e9, seconds={k: scale * v for k, v in seconds.items()})


TIMES = {"E": 0.010, "ctxE": 0.002, "VQ encode": 0.004, "VQ decode": 0.003, "ctxD": 0.004, "D": 0.020}


def test_table_1_has_a_row_a_data_set_and_the_paper_s_own():
    rates = {clip: 2 * (1 + n) for n, clip in enumerate(CLIPS)}
    x264 = [record(c, "x264-crf-gop12", s, rates[c] * b, p, m) for c in CLIPS for s, b, p, m in CURVES[ANCHOR]]
    (table,) = counterpart("table1", Results([*records(), *x264]))
    assert table.header[:4] == ("data set", "whose", "SSIM: H.264", "SSIM: H.265")
    assert table.rows[0] == ("UVG", "paper", "+21.2 %", "0 %", "-43.7 %", "+63.7 %", "0 %", "-23.7 %")
    assert sorted(table.theirs) == [0, 1, 2, 3] == [n for n, row in enumerate(table.rows) if row[1] == "paper"]
    (ours,) = rows(table, "ours")
    assert (ours[0], ours[5], ours[6]) == (f"films, {OURS}", "+100.0 % (2 of 2 clips)", "0 %")
    curves = [[list(column) for column in list(zip(*CURVES[s], strict=True))[1:3]] for s in (ANCHOR, OURS)]
    assert ours[7] == f"{bd_rate(*curves[0], *curves[1]).percent:+.1f} % (2 of 2 clips)"


def test_table_1_without_its_anchors_has_no_figures():
    (table,) = counterpart("table1", Results(r for r in records() if r["series"] == OURS))
    assert rows(table, "ours") == [(f"films, {OURS}", "ours", *["-"] * 6)]


def test_table_3_has_sizes_times_and_ratios_to_the_first():
    mine, other = parts("mine", 1.0, **TIMES), parts("other", 2.5, **TIMES)
    table = complexity_table([mine, other], Results(records()))
    assert rows(table, "paper")[2][4] == "13.0 ms (4.06x)"
    facts = ("2.000M", "3.000T", "3.0 ms (1.00x)", "23.0 ms (1.00x)", "27.0 ms (1.00x)")
    assert rows(table, "ours")[0] == (OURS, "ours", *facts, "0 %", "0 %")
    assert rows(table, "ours")[1][4:] == ("7.5 ms (2.50x)", "57.5 ms (2.50x)", "67.5 ms (2.50x)", "-", "-")
    assert "64x48 on cpu" in table.note


def test_table_3_takes_what_was_timed():
    table = complexity_table([parts("one", 1.0, ctxE=0.001, ctxD=0.001)])
    assert rows(table, "ours")[0][4:7] == ("1.0 ms (1.00x)", "-", "-")
    assert math.isnan(parts("one", 1.0, ctxE=0.001).context_s)


def test_table_4_has_the_rate_of_x265_at_the_same_psnr():
    (table,) = counterpart("table4", Results(records()))
    ours = rows(table, "ours")
    assert len(ours) == 2 * 3
    # 30 dB is the third point of the anchor.
    assert ours[0] == (f"{CLIPS[0]}, {OURS} low", "ours", "30.000", "0.0500", "0.0400")
    assert rows(table, "paper")[0][2:4] == ("37.483", "0.054")


def test_table_6_compares_each_model_with_itself_at_gop_32():
    halved = [record(c, "mine-gop96", s, b / 2, p, m) for c in CLIPS for s, b, p, m in CURVES[OURS]]
    ours = [r for r in records() if r["series"] == OURS and r["clip"] == CLIPS[0]]
    ours += [record(CLIPS[1], OURS, s, b, p, m) for s, b, p, m in CURVES[OURS]]
    (table,) = counterpart("table6", Results([*ours, *halved]))
    assert table.header[2:] == ("7", "12", "24", "32", "48", "96")
    cells = ("-", "-", "-", "0 %", "-", "-50.0 % (2 of 2 clips)")
    assert rows(table, "ours") == [(f"{m}, films, mine", "ours", *cells) for m in ("SSIM", "PSNR")]


def test_presets_name_anchors_that_there_are_and_tables_that_are_whole():
    for name, preset in paper.PRESETS.items():
        assert all(PATTERN.fullmatch(anchor) for anchor in preset.anchors), name
        table = paper.published(name)
        assert (table is None) == (name == "figure12")
        if table is not None:
            assert all(len(row) == len(table.header) for row in table.rows)
            assert "not this project's" in table.note
    assert counterpart("figure12", Results(records())) == []
    assert len(paper.PRESETS["figure12"].anchors) == 8
    assert paper.PRESETS["table6"].series(["some/folder/mine"]) == "mine-gop32"
    assert [paper.preset_name(n) for n in ("figure5", "figure10", "table4")] == ["table1", "table3", "table4"]
    with pytest.raises(UsageError, match="there are table1"):
        paper.preset_name("figure9")
