"""What is made of records: curves, tables, and the page, which a real browser opens where there is one."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.curve import BDRate, bd_rate
from cbvc_jax.evaluation.records import Records
from cbvc_jax.evaluation.report.curves import METRICS, Results
from cbvc_jax.evaluation.report.tables import markdown, tables
from cbvc_jax.evaluation.report.write import write_report

from .results import ANCHOR, CLIPS, CURVES, OURS, record, records

PSNR = METRICS[0]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
<script>
const seen = {};
const mark = document.querySelector("#rate-distortion .mark");
const box = mark.getBoundingClientRect();
const svg = mark.ownerSVGElement;
const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true };
svg.dispatchEvent(new PointerEvent("pointermove", at));
seen.tip = document.getElementById("tip").textContent;
svg.dispatchEvent(new PointerEvent("pointerleave", at));
seen.hidden = document.getElementById("tip").hidden;
const frames = document.querySelector("#positions svg");
const room = frames.getBoundingClientRect();
const middle = { clientX: room.x + room.width / 2, clientY: room.y + 50, bubbles: true };
frames.dispatchEvent(new PointerEvent("pointermove", middle));
seen.frame = document.getElementById("tip").textContent;
const count = (query) => [...document.querySelectorAll(query)].map((s) => s.querySelectorAll("path.curve").length);
seen.curves = count("#rate-distortion svg");
seen.marks = document.querySelectorAll("#rate-distortion .mark").length;
seen.lines = count("#positions svg");
const odd = /NaN|Infinity|undefined/;
const labels = document.querySelector("#positions svg").querySelectorAll(".name");
const names = [...labels].map((n) => n.getBoundingClientRect());
seen.names = names.length;
const meet = (a, b) => a !== b && a.top < b.bottom - 2 && b.top < a.bottom - 2;
seen.covered = names.filter((a) => names.some((b) => meet(a, b))).length;
const edge = document.querySelector("#positions svg").getBoundingClientRect().right;
seen.cut = names.filter((n) => n.right > edge).length;
seen.odd = [...document.querySelectorAll("path")].filter((p) => odd.test(p.getAttribute("d"))).length;
const select = document.getElementById("metric");
select.value = "ms_ssim";
select.dispatchEvent(new Event("change"));
seen.label = document.querySelector("#rate-distortion svg").textContent;
document.querySelector("#legend input").click();
seen.afterHiding = document.querySelectorAll("#rate-distortion .mark").length;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.body.dataset.seen = JSON.stringify(seen);
</script>
"""


@pytest.fixture
def out(tmp_path):
    """A folder with the points, and pictures of the first clip."""
    kept = Records(tmp_path)
    for one in records():
        kept.add(one)
    folder = tmp_path / "pictures" / CLIPS[0]
    folder.mkdir(parents=True)
    for name in ("source", f"{OURS}_low", f"{ANCHOR}_crf43"):
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / f"{name}.png")
    return tmp_path


def browse(out, page, *options):
    """(what the page holds once its scripts have run, what was written to its console)."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update", *options),
            *("--dump-dom", "--enable-logging=stderr", f"--user-data-dir={out / 'browser'}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_bd_rates_are_those_of_the_curves():
    results = Results(records())
    assert (results.baseline, results.ours, results.series) == (ANCHOR, [OURS], [OURS, ANCHOR])
    curves = [[list(column) for column in list(zip(*CURVES[series], strict=True))[1:3]] for series in (ANCHOR, OURS)]
    expected = bd_rate(*curves[0], *curves[1])
    for clip in CLIPS:  # a factor common to both curves does not count
        found = results.bd_rate(clip, OURS, PSNR)
        assert isinstance(found, BDRate)
        assert found.percent == pytest.approx(expected.percent, abs=1e-6)
        assert (found.low, found.high, found.overlap) == (30.0, 33.0, 0.3)
    rows = results.bd_rates()
    assert len(rows) == 2 * 4 * 3
    assert {row["method"] for row in rows if row["percent"] is None} == {"cubic"}


def test_against_itself_with_half_the_bits_it_costs_double():
    changed = [record(CLIPS[0], "mine-gop64", s, bpp / 2, psnr, m) for s, bpp, psnr, m in CURVES[OURS]]
    results = Results([r for r in records() if r["series"] == OURS] + changed, "mine-gop64")
    found = results.bd_rate(CLIPS[0], OURS, PSNR)
    assert isinstance(found, BDRate) and found.percent == pytest.approx(100)
    assert results.bd_rate(CLIPS[1], OURS, PSNR) != found


def test_curves_without_overlap_have_a_reason_and_no_figure():
    poor = [record(clip, OURS, s, bpp, psnr - 20, m) for clip in CLIPS for s, bpp, psnr, m in CURVES[OURS]]
    results = Results(poor + [r for r in records() if r["series"] == ANCHOR])
    assert "do not overlap" in str(results.bd_rate(CLIPS[0], OURS, PSNR))
    text = markdown(tables(results)[0])
    assert f"| {OURS} | {CLIPS[0]} | no overlap |" in text
    assert f"| {OURS} | mean of films | - | - |" in text


def test_the_curve_of_a_data_set_is_the_mean_at_common_settings():
    measured = [r for r in records() if (r["clip"], r["setting"]) != (CLIPS[1], "medium")]
    curve = Results(measured).dataset_curve("films", OURS, PSNR)
    assert [(p.setting, p.bpp, p.quality) for p in curve] == [
        ("low", pytest.approx(1.5 * 0.05), 30.0),
        ("high", pytest.approx(1.5 * 0.13), 33.0),
    ]


def test_means_of_a_data_set_are_tabled():
    table = next(table for table in tables(Results(records())) if table.title.startswith("Means"))
    assert ("films (2 clips)", OURS, "low", "0.0750", "30.00", "31.00", "0.9000", "0.9000") in table.rows
    assert "mean of films | +" in markdown(tables(Results(records()))[0])


def test_distances_count_the_other_way_round():
    lpips = next(metric for metric in METRICS if metric.key == "lpips_vgg")
    near = record(CLIPS[0], OURS, "high", 0.2, 33.0, 0.95)
    near["mean"]["lpips_vgg"] = 0.25
    results = Results([*records(), near | {"lpips_every": 7}])
    assert "LPIPS: over one frame in 7." in "".join(map(markdown, tables(results)))
    assert results.curve(CLIPS[0], OURS, lpips)[0].quality == -0.25
    assert "0.2500" in "".join(map(markdown, tables(results)))


def test_a_missing_baseline_is_told():
    with pytest.raises(UsageError, match=f"no series 'none' to compare with; there are {OURS}, {ANCHOR}"):
        Results(records(), "none")
    with pytest.raises(UsageError, match="no measured points"):
        Results([])


def test_infinite_and_missing_values_do_not_break_tables():
    odd = record(CLIPS[0], OURS, "high", 0.2, 33.0, 0.95)
    odd["mean"] |= {"psnr_rgb_db": "inf", "ms_ssim": None}
    odd["per_frame"]["psnr_rgb_db"] = ["inf", 40.0, 40.0]
    text = "".join(map(markdown, tables(Results([*records(), odd]))))
    assert "| inf |" in text


def test_files_are_written_and_hold_every_point(out):
    write_report(Records(out), out)
    rows = list(csv.DictReader(io.StringIO((out / "points.csv").read_text())))
    assert len(rows) == 18
    assert {row["command"] for row in rows} >= {"make low", "make crf 51"}
    assert float(rows[0]["psnr_rgb_db"]) == 30.0
    text = (out / "tables.md").read_text()
    for title in ("BD-rate against", "Means of the data sets", "Rate and quality", "PSNR by frame", "Speed"):
        assert f"## {title}" in text
    assert sorted(p.name for p in out.iterdir()) == [
        *("bd_rate.csv", "pictures", "points", "points.csv", "report.html", "tables.md")
    ]


def test_the_page_needs_nothing_else_and_escapes_names(out):
    write_report(Records(out), out)
    page = (out / "report.html").read_text()
    assert not re.search(r"<!--[A-Z]+-->", page)
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')>\s]+)""", page)
    assert links and all(link.startswith("data:") for link in links)
    assert "<b>clip" not in page and "@import" not in page
    assert page.count("data:image/png") == 3
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["clips"][1]["name"].startswith(CLIPS[1])


def test_the_paper_s_figures_stand_beside_ours_and_look_different(out):
    write_report(Records(out), out, preset="table1")
    page = (out / "report.html").read_text()
    theirs = re.findall(r'<tr class="theirs">.*</tr>', page)
    assert len(theirs) == 4 and "<td>paper</td>" in theirs[0] and "+63.7 %" in theirs[0]
    assert f'<tr><th scope="row">films, {OURS}</th><td>ours</td>' in page
    assert "not this project" in page
    assert page.count("+63.7 %") == 1
    assert "+63.7 %" not in (out / "points.csv").read_text() + (out / "bd_rate.csv").read_text()


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_draws_the_plots_without_an_error(out, width):
    write_report(Records(out), out)
    page = out / "probed.html"
    page.write_text((out / "report.html").read_text().replace("</body>", PROBE + "</body>"))
    html, console = browse(out, page, f"--window-size={width},900")
    assert console == []
    found = re.search(r'data-seen="([^"]*)"', html)
    assert found is not None
    seen = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">"))
    assert seen["curves"] == [2, 2, 2]  # the data set and two clips
    assert seen["marks"] == 3 * 9
    assert seen["lines"] == [4, 4]
    assert seen["odd"] == 0
    assert (seen["names"], seen["covered"], seen["cut"]) == (4, 0, 0)
    assert seen["tip"].startswith(f"{OURS} low\n0.0750 bpp\n30.00 dB")
    assert seen["hidden"] is True
    assert seen["frame"].startswith("frame 1\n") and "33.00 dB" in seen["frame"]
    assert "MS-SSIM RGB" in seen["label"]
    assert seen["afterHiding"] == 3 * 6
    assert seen["wide"] <= 0


PHONE = """<!doctype html><meta charset="utf-8"><iframe src="report.html" width="390" height="800"></iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  const style = page.defaultView.getComputedStyle(page.body);
  document.body.dataset.seen = JSON.stringify({
    wide: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    plots: page.querySelectorAll("#rate-distortion svg").length,
    back: style.backgroundColor, ink: style.color,
  });
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("options", "back"), [((), "rgb(255, 255, 255)"), (("--blink-settings=preferredColorScheme=0",), "rgb(18, 22, 27)")]
)
def test_a_phone_shows_it_whole_light_and_dark(out, options, back):
    write_report(Records(out), out)
    (out / "phone.html").write_text(PHONE)
    html, console = browse(out, out / "phone.html", "--allow-file-access-from-files", *options)
    assert console == []
    found = re.search(r'data-seen="([^"]*)"', html)
    assert found is not None
    seen = json.loads(found[1].replace("&quot;", '"'))
    assert (seen["wide"], seen["plots"], seen["back"]) == (0, 3, back)
    assert seen["ink"] != back


def test_series_come_by_model_then_gop_then_setting():
    names = ["mine-gop32-quality", "mine-gop12", "mine-gop32", "mine-gop32-fixed", "mine-gop96"]
    points = [record("first", name, "low", 0.05, 30.0, 0.9) for name in names]
    wanted = ["mine-gop12", "mine-gop32", "mine-gop32-fixed", "mine-gop32-quality", "mine-gop96"]
    assert Results(points).series == Results(points[::-1]).series == wanted
