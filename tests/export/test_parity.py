"""The cross-check finds equality, finds differences, and says which."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cbvc_jax.cli.main import main
from cbvc_jax.errors import UsageError
from cbvc_jax.export import parity
from cbvc_jax.export.parity import crosscheck
from cbvc_jax.export.variants import REFERENCE, Variant


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CBVC_CACHE", str(tmp_path / "cache"))


def test_jax_and_its_export_are_equal_and_rounded_parameters_are_not(mini, stream):
    reference, exported, rounded = crosscheck(stream, ["jax-export", "jax-bfloat16"], model=str(mini.path))
    assert (reference.variant, reference.frames, reference.passed) == ("jax", 5, True)
    assert exported.passed
    assert exported.worst_8bit <= 1
    assert exported.indices_sha256 == reference.indices_sha256
    assert rounded.passed is None
    assert rounded.worst > 0
    assert rounded.psnr_db is not None
    assert len(rounded.rms_by_frame) == 5


def test_the_command_writes_a_report(tmp_path, mini, stream, capsys):
    arguments = ["--model", str(mini.path), "--backends", "jax-export", "--frames", "3"]
    assert main(["crosscheck", str(stream), *arguments, "--report", str(tmp_path / "report")]) == 0
    assert "| jax-export |" in capsys.readouterr().out
    records = json.loads((tmp_path / "report" / "crosscheck.json").read_text())
    assert [r["variant"] for r in records] == ["jax", "jax-export"]
    assert records[0]["frames"] == 3
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<svg" in page
    assert "data:image/png;base64," in page


def test_a_difference_of_two_levels_fails():
    told = {"frames": 2, "indices_sha256": "a", "load_s": 0.0, "fps": None, "peak_bytes": 0}
    reference = np.full((2, 4, 4, 3), 100.0, np.float32)
    ours = reference.copy()
    ours[1, 0, 0, 0] += 1.6
    first, _ = parity._compare(REFERENCE, told, reference, reference, [], [])
    assert first.passed
    worse, frame = parity._compare(Variant("x", "jax"), told, ours, reference, [], [first])
    assert (worse.passed, worse.worst_8bit, frame) == (False, 2, 1)
    np.testing.assert_allclose(worse.worst, 1.6, rtol=1e-6)
    np.testing.assert_allclose(worse.rms_by_frame, [0.0, 1.6 / np.sqrt(48)], rtol=1e-6)
    np.testing.assert_allclose(worse.equal_share, 1 - 1 / 96)
    other, _ = parity._compare(Variant("x", "jax"), {**told, "indices_sha256": "b"}, reference, reference, [], [first])
    assert other.passed is False


def test_backends_that_do_not_exist(mini, stream):
    with pytest.raises(UsageError, match="no backend 'abacus'"):
        crosscheck(stream, ["abacus"], model=str(mini.path))
