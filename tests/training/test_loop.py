"""A run is what its configuration says, however often it is stopped."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.training.loop import load_data, plan_for, train
from cbvc_jax.training.state import phases
from cbvc_jax.weights import load_model, save_model

AT_ONCE = 1e-9


@pytest.mark.slow
def test_a_run_that_is_stopped_after_every_step_ends_bit_identical(config, mini, tmp_path):
    whole = train(config, tmp_path / "whole")
    assert int(whole.step) == 10
    for _ in range(12):
        pieces = train(config, tmp_path / "pieces", stop_after_s=AT_ONCE)
        if int(pieces.step) == 10:
            break
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert list((tmp_path / "whole").glob("events.*")), "no metrics for TensorBoard"
    # What was trained can be used.
    save_model(tmp_path / "model", mini, whole.params, whole.codebooks, "# mini\n")
    assert load_model(tmp_path / "model").preset == mini


def test_rates_take_turns_and_warm_ups_do_not_quantise(config):
    gops = phases(config)[1]
    plans = [plan_for(config, gops, n) for n in range(6)]
    assert [rate for rate, _ in plans] == ["high", "low", "low", "high", "high", "low"]
    assert [s.starts for _, s in plans] == [True, False] * 3
    assert [s.predicted_stages for _, s in plans] == [0, 0, 3, 3, 3, 3]
    assert all(s.key_stages == 3 for _, s in plans)


def test_no_data_is_told(config, tmp_path):
    config.data.folders = ""
    with pytest.raises(UsageError, match="no training data"):
        train(config, tmp_path)


def test_data_come_from_folders_and_from_tfds(config, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    from cbvc_jax.data.tfds.prepare import prepare

    prepare("video_folder/mine", Path(config.data.folders), tmp_path / "tfds")
    folders = load_data(config)
    config.data.tfds, config.data.tfds_dir = "video_folder/mine:1.0.0", str(tmp_path / "tfds")
    both = load_data(config)
    assert len(both) == 2 * len(folders) == 6
    config.data.folders = ""
    for ours, theirs in zip(load_data(config), folders, strict=True):
        np.testing.assert_array_equal(ours.frames[0], theirs.frames[0])
    config.data.tfds = "video_folder/mein:1.0.0"
    with pytest.raises(UsageError, match=r"nearest is 'video_folder/mine:1\.0\.0'"):
        load_data(config)
