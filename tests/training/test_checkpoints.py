"""What is saved comes back: after damage, a full disk, a change of devices."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cbvc_jax.training.checkpoints import CheckpointError, Checkpoints
from cbvc_jax.training.state import init_state

ROOT = Path(__file__).parents[2]


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


DEVICES = """
import sys
import jax, numpy as np
from cbvc_jax.training.checkpoints import Checkpoints
from cbvc_jax.training.sharding import make_layout
from cbvc_jax.training.state import init_state
from tests.training.mini import mini_config

config, folder, expected = mini_config(), sys.argv[1], None
config.preset = "tiny"  # mini's parameters are too small to be cut
for step, (count, fsdp) in enumerate([(8, 4), (1, 1), (4, 2)]):
    layout = make_layout(fsdp, jax.devices()[:count])
    checkpoints = Checkpoints(folder, config, layout)
    state = checkpoints.restore_latest() if step else layout.place_state(init_state(config))
    assert int(state.step) == step
    leaves = jax.tree.leaves(state)
    wanted = jax.tree.leaves(layout.of_state(state))
    assert all(a.sharding.is_equivalent_to(s, a.ndim) for a, s in zip(leaves, wanted))
    cut = max(leaf.size // leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state.params))
    assert cut == fsdp, (cut, fsdp)
    values = [np.asarray(leaf) for leaf in jax.tree.leaves(state.replace(step=0))]
    expected = expected or values
    assert all(np.array_equal(a, b) for a, b in zip(values, expected, strict=True))
    checkpoints.save(state.replace(step=state.step + 1))
    checkpoints.close()
"""


@pytest.mark.slow
def test_what_eight_devices_saved_goes_on_on_one_and_then_on_four(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-c", DEVICES, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
