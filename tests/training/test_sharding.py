"""However many devices and processes share a step, it is the same step."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.training.sharding import make_layout, single
from tests.training.mini import BATCH

ROOT = Path(__file__).parents[2]
# Sixteen programs are compiled here; how fast they run does not matter.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def start_program(devices_here: int, *arguments: object) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={devices_here} {FAST_COMPILATION}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def start(devices_here: int, *arguments: object) -> subprocess.Popen:
    return start_program(devices_here, "-m", "tests.training.mini", *arguments)


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate()
    assert process.returncode == 0, output.decode()[-3000:]


def assert_same(one: dict, other: dict, tolerance: float) -> None:
    """Restarts are equal; every array is, up to `tolerance` of its norm."""
    np.testing.assert_array_equal(one["restarts"], other["restarts"])
    for name in one.keys() - {"restarts"}:
        assert np.linalg.norm(one[name] - other[name]) <= tolerance * np.linalg.norm(one[name]), name


def results(file: Path) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(file) as arrays:
        for key in arrays:
            count, name = key.split("/")
            found.setdefault(count, {})[name] = arrays[key]
    return found


@pytest.mark.slow
def test_one_two_four_and_eight_devices_end_alike(tmp_path):
    finish(start(8, "--devices", 1, 2, 4, 8, "--fsdp", 2, "--steps", 100, "--out", tmp_path / "all.npz"))
    found = results(tmp_path / "all.npz")
    for count in ("2", "4", "8"):
        assert_same(found["1"], found[count], tolerance=1e-5)
    assert found["1"]["restarts"].sum() > 0


CODEBOOK = """
import jax, jax.numpy as jnp, numpy as np
from cbvc_jax.training.codebooks import start_averages, update_codebook
from cbvc_jax.training.sharding import ROWS, make_layout

rng = np.random.default_rng(0)
book, z = rng.normal(size=(2, 16, 4)).astype("f"), rng.normal(size=(64, 2, 4)).astype("f")
indices, found = rng.integers(0, 11, (64, 2)), []

def step(book, rows):
    z, indices = rows
    averages = start_averages(book, 64.0)
    return update_codebook(book, averages, z, indices, jax.random.PRNGKey(3), decay=0.5, restart_below=0.6)

def per_device(weight, rows):
    return jnp.tanh(rows * weight)

for count in (1, 2, 4):
    layout = make_layout(devices=jax.devices()[:count])
    rows = layout.place((z, indices), layout.rows)
    assert len(rows[0].sharding.device_set) == count
    learned, _, restarts = jax.jit(step, out_shardings=layout.copy)(layout.place(book, layout.copy), rows)
    loss = lambda w: jnp.sum(layout.row_by_row(per_device, ROWS)(w, rows[0]) ** 2)
    gradient = jax.jit(jax.grad(loss))(layout.place(book[0, 0], layout.copy))
    found.append((np.asarray(learned), int(restarts), np.asarray(gradient)))
assert found[0][1] == 10, found[0][1]
for other in found[1:]:
    for a, b in zip(found[0], other):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
"""


def test_codebooks_learn_and_gradients_add_up_over_devices():
    finish(start_program(4, "-c", CODEBOOK))


@pytest.mark.slow
def test_two_processes_end_like_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ("--devices", 4, "--steps", 20, "--out")
    both = [start(2, *arguments, tmp_path / "two.npz", "--join", address, 2, i) for i in range(2)]
    for process in both:
        finish(process)
    finish(start(4, *arguments, tmp_path / "one.npz"))
    assert_same(results(tmp_path / "one.npz")["4"], results(tmp_path / "two.npz")["4"], tolerance=1e-5)


def test_one_device_makes_every_row():
    assert single().local_rows(BATCH) == (0, BATCH)


def test_what_is_placed_never_makes_a_program_compile_again():
    layout = single()
    program = jax.jit(lambda a: a + 1, in_shardings=layout.copy, out_shardings=layout.copy)
    one = program(layout.place(jax.numpy.zeros(3), layout.copy))
    for array in (one, layout.place(np.zeros(3, np.float32), layout.copy), layout.place(one, layout.copy)):
        program(array)
    assert program._cache_size() == 1


def test_parameters_are_cut_along_their_longest_axis_and_small_arrays_are_not():
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "fsdp"))
    layout = type(single())(mesh)  # pyright: ignore
    assert layout.sliced(np.zeros((3, 3, 128, 256))).spec == jax.sharding.PartitionSpec(None, None, None, "fsdp")
    assert layout.sliced(np.zeros((64, 256))).spec == jax.sharding.PartitionSpec(None, "fsdp")
    assert layout.sliced(np.zeros(256)).spec == jax.sharding.PartitionSpec()
    assert layout.sliced(np.zeros((127, 1023))).spec == jax.sharding.PartitionSpec()


def test_what_cannot_be_divided_is_told():
    with pytest.raises(UsageError, match=r"mesh.fsdp = 3 does not divide the 1 devices"):
        make_layout(3, jax.devices()[:1])
    with pytest.raises(UsageError, match="multiple of 4"):
        single().check_batch(6, accumulate=4)
