"""Tables in other documents: what is marked is made of points, all else stays, and a mark that is wrong is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.report.cite import cite, main
from cbvc_jax.evaluation.report.curves import Results
from cbvc_jax.evaluation.report.tables import tables

from .results import ANCHOR, OURS, records

ROOT = Path(__file__).parents[2]
CITING = ("README.md", "cbvc_jax/assets/models/tiny/MODEL_CARD.md")
MEANS = f"Means; data set = films; series = {OURS}; show rate, bpp, PSNR RGB dB as quality"


@pytest.fixture(scope="module")
def made():
    return tables(Results(records()))


def marked(mark, inside=""):
    return f"# Title\n\nbefore\n<!-- results: {mark} -->\n{inside}<!-- end -->\nafter\n"


def test_what_is_marked_is_made_anew_and_all_else_stays(made):
    text = cite(marked(MEANS, "| old |\n"), made, "a.md")
    assert text == marked(
        MEANS,
        "| rate | bpp | quality |\n|---|---|---|\n"
        "| low | 0.0750 | 30.00 |\n| medium | 0.1200 | 31.50 |\n| high | 0.1950 | 33.00 |\n",
    )
    assert cite(text, made, "a.md") == text


def test_rows_come_in_the_order_of_the_mark(made):
    text = cite(marked(f"Means; rate = high, low; series = {OURS}; show rate"), made, "a.md")
    assert text.index("| high |") < text.index("| low |")
    assert "medium" not in text


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("Nothing; show rate", "no table 'Nothing'; there are: .*Means"),
        ("Means; show speed", "no column 'speed'; it has: .*bpp"),
        ("Means; clip = first", "no column 'clip'"),
        ("Means; series = theirs; show rate", "no row"),
    ],
)
def test_a_mark_that_names_what_is_not_there_is_told(made, mark, words):
    with pytest.raises(UsageError, match=f"'a.md', mark '{mark}'.*{words}"):
        cite(marked(mark), made, "a.md")


def test_a_document_without_marks_is_told(made):
    with pytest.raises(UsageError, match=r"'a\.md' has no mark"):
        cite("# Title\n", made, "a.md")


def test_a_mark_without_its_end_swallows_nothing(made):
    text = marked(MEANS).replace("<!-- end -->\n", "") + "precious\n" + marked(MEANS)
    with pytest.raises(UsageError, match=r"'a\.md' has 2 marks, 1 of them with an '<!-- end -->'"):
        cite(text, made, "a.md")


def test_the_command_writes_what_is_stale_and_says_so(tmp_path, capsys):
    points = tmp_path / "out" / "points"
    points.mkdir(parents=True)
    (points / "all.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records()))
    file = tmp_path / "a.md"
    file.write_text(marked(MEANS))
    command = [str(tmp_path / "out"), str(file)]
    assert main([*command, "--check"]) == 1
    assert file.read_text() == marked(MEANS)
    assert main(command) == 0
    assert "30.00" in file.read_text()
    assert capsys.readouterr().out == f"{file}: not as the points say\n{file}: written\n"
    assert main([*command, "--check"]) == 0
    with pytest.raises(SystemExit, match="cannot be read"):
        main([command[0], str(tmp_path / "none.md")])


def test_the_documents_of_this_repository_say_what_its_points_say():
    assert main([str(ROOT / "docs" / "results"), *(str(ROOT / file) for file in CITING), "--check"]) == 0


def test_differences_at_equal_bits_are_those_between_the_curves(made):
    (table,) = (t for t in made if t.title == f"Difference to {ANCHOR} at equal bits")
    row = next(row for row in table.rows if row[:2] == (OURS, "first"))
    at = dict(zip(table.header, row, strict=True))
    # Between the points at 0.05 and 0.08 bpp ours has 30 to 31.5 dB; x265 has 30 at 0.04 and 32 at 0.08.
    assert -1.0 < float(at["PSNR RGB at 0.0518"]) < 0.0
    assert -1.0 < float(at["PSNR RGB at 0.1274"]) < 0.0
    second = next(row for row in table.rows if row[:2] == (OURS, "second <b>clip"))
    # Its rates are doubled and begin at 0.1 bpp: there is nothing to compare below.
    assert dict(zip(table.header, second, strict=True))["PSNR RGB at 0.0518"] == "-"
    mean = next(row for row in table.rows if row[:2] == (OURS, "mean of films"))
    assert dict(zip(table.header, mean, strict=True))["PSNR RGB at 0.0518"] == f"{row[2]} (1 of 2 clips)"
