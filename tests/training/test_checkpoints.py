"""What is saved comes back: after damage, a full disk, a change of devices."""

from __future__ import annotations

import resource

import jax
import numpy as np
import pytest

from cbvc_jax.training.checkpoints import CheckpointError, Checkpoints
from cbvc_jax.training.state import init_state


@pytest.fixture
def state(config):
    return init_state(config)


def save(workdir, config, state, *steps, scores=None):
    """Checkpoints of `steps`, written to the end."""
    checkpoints = Checkpoints(workdir, config)
    for i, step in enumerate(steps):
        checkpoints.save(state.replace(step=state.step + step), scores[i] if scores else None)
    checkpoints.close()


def kept(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def damage(workdir, step):
    """Cuts every larger file of a checkpoint short."""
    for file in (workdir / "checkpoints" / str(step)).rglob("*"):
        if file.is_file() and file.stat().st_size > 200:
            file.write_bytes(file.read_bytes()[:100])


def test_the_last_ones_and_the_best_one_are_kept(config, state, tmp_path):
    config.keep_checkpoints = 2
    save(tmp_path, config, state, 1, 2, 3, 4, 5, scores=[20.0, 30.0, None, 25.0, 24.0])
    assert kept(tmp_path) == [2, 4, 5]


def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_goes_on(config, state, tmp_path, caplog):
    save(tmp_path, config, state, 2, 4)
    damage(tmp_path, 4)
    checkpoints = Checkpoints(tmp_path, config)
    restored = checkpoints.restore_latest()
    assert restored is not None and int(restored.step) == 2
    assert "checkpoint 4 cannot be read" in caplog.text and "going on from the checkpoint before 4" in caplog.text
    for a, b in zip(jax.tree.leaves(restored.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)
    # Its step comes again, and is saved again.
    checkpoints.save(state.replace(step=state.step + 4))
    checkpoints.close()
    assert kept(tmp_path) == [2, 4] and len(list((tmp_path / "damaged").iterdir())) == 1


def test_nothing_but_damage_is_an_error_and_stays_where_it_is(config, state, tmp_path):
    save(tmp_path, config, state, 2)
    damage(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[2\]"):
        Checkpoints(tmp_path, config).restore_latest()
    assert kept(tmp_path) == [2]


def test_a_full_disk_is_told_and_older_checkpoints_stay(config, state, tmp_path):
    save(tmp_path, config, state, 2)
    checkpoints = Checkpoints(tmp_path, config)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Every file may have 300 bytes: what a save writes does not fit.
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        with pytest.raises(CheckpointError, match=r"cannot be written to .*whole ones there, by step: 2"):
            checkpoints.save(state.replace(step=state.step + 4))
            checkpoints.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    restored = Checkpoints(tmp_path, config).restore_latest()
    assert restored is not None and int(restored.step) == 2


def test_a_save_that_failed_in_the_background_stops_the_run(config, state, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, config)

    def failed() -> None:
        raise OSError("No space left on device")

    checkpoints.check()
    monkeypatch.setattr(checkpoints.manager, "check_for_errors", failed)
    with pytest.raises(CheckpointError, match="No space left on device; whole ones there, by step: none"):
        checkpoints.check()
