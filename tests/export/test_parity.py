"""The cross-check finds equality, finds differences, and says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cbvc_jax.cli.main import main
from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.export import parity
from cbvc_jax.export.parity import ParityError, crosscheck
from cbvc_jax.export.variants import REFERENCE, Variant


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(own_cache, monkeypatch):
    monkeypatch.setenv("CBVC_CACHE", str(own_cache))


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


@pytest.mark.slow
def test_the_source_is_what_was_encoded(mini, stream, moving):
    source = moving(5, 50, 70)
    (found,) = crosscheck(stream, ["jax"], model=str(mini.path), source=lambda: iter(source))
    assert 3.0 < found.source_psnr_db < 40.0
    # Frames of 50 lines are too small for it.
    assert found.source_ms_ssim is None
    with pytest.raises(VideoError, match="70x51"):
        crosscheck(stream, ["jax"], model=str(mini.path), source=lambda: iter(moving(5, 51, 70)))


@pytest.mark.slow
def test_another_python_decodes_and_one_that_fails_does_not_keep_the_others_back(mini, stream, monkeypatch):
    monkeypatch.delenv("CBVC_AARCH64_PYTHON", raising=False)
    with pytest.raises(UsageError, match=r"needs CBVC_AARCH64_PYTHON.*aarch64_python\.sh"):
        crosscheck(stream, ["jax-aarch64"], model=str(mini.path))
    monkeypatch.setenv("CBVC_AARCH64_PYTHON", sys.executable)
    _, there = crosscheck(stream, ["jax-aarch64"], model=str(mini.path), frames=1)
    assert (there.variant, there.passed) == ("jax-aarch64", True)
    monkeypatch.setenv("CBVC_AARCH64_PYTHON", "/bin/false")
    told = []
    names = ["jax-aarch64", "jax-bfloat16"]
    with pytest.raises(ParityError, match=r"^jax-aarch64 failed with status 1"):
        crosscheck(stream, names, model=str(mini.path), frames=1, tell=lambda p: told.append(p.variant))
    assert told == ["jax", "jax-bfloat16"]


SHARDED = """
import sys
import jax, numpy as np
from cbvc_jax.export.backends.jax import sharded_step
from cbvc_jax.export.steps import make_step, step_arguments
from cbvc_jax.weights import load_model
model = load_model(sys.argv[1])
shapes = step_arguments(model, "low", (512, 64)).values()
rng = np.random.default_rng(0)
values = [
    rng.normal(size=s.shape).astype(s.dtype) if s.dtype == np.float32 else rng.integers(0, 2, s.shape, s.dtype)
    for s in shapes
]
one = jax.jit(make_step(model, "low")).lower(*shapes).compile()
eight = sharded_step(model, "low", 8).lower(*shapes).compile()
x_hat, y_hat = eight(*values)
assert {s.data.shape[1] for s in y_hat.addressable_shards} == {8} and len(x_hat.sharding.device_set) == 8
print(eight.cost_analysis()["flops"] / one.cost_analysis()["flops"])
print("collective-permute(" in eight.as_text() or "collective-permute-start(" in eight.as_text())
print(np.abs(np.asarray(x_hat) - np.asarray(one(*values)[0])).max())
"""


def test_eight_devices_share_the_work(mini):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-c", SHARDED, str(mini.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    share, exchanged, difference = done.stdout.split()
    # What is made of the indices, which are whole on each, weighs much in so small a model.
    assert float(share) < 0.8
    assert exchanged == "True"
    assert float(difference) < 0.05
