"""Programs compiled for the backend at hand, with options that may not be there."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax import compilation
from cbvc_jax.compilation import X86_64, compiled, compiler_options


@pytest.fixture
def asked_anew(monkeypatch):
    monkeypatch.setattr(compilation, "X86_64", X86_64)
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def test_a_compiled_program_gives_what_jax_jit_gives(asked_anew):
    def convolve(times: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return times * jax.lax.conv(x, kernel, (1, 1), "SAME")

    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 8, 16, 16), (4, 8, 3, 3)))
    got = compiled(convolve, static_argnums=0)(3, x, kernel)
    np.testing.assert_allclose(got, jax.jit(convolve, static_argnums=0)(3, x, kernel), rtol=1e-4, atol=1e-4)


def test_other_backends_and_other_processors_are_told_nothing(asked_anew, monkeypatch):
    assert compiler_options("gpu") == compiler_options("tpu") == {}
    monkeypatch.setattr(compilation.platform, "machine", lambda: "aarch64")
    assert compiler_options("cpu") == {}


def test_an_option_that_xla_does_not_know_is_left_out(asked_anew, monkeypatch):
    monkeypatch.setattr(compilation, "X86_64", {"xla_cpu_no_such_option": "1"})
    assert compiler_options("cpu") == {}
    assert compiled(lambda x: x + 1)(1) == 2


def test_importing_the_programs_starts_no_backend():
    code = (
        "import cbvc_jax.programs, cbvc_jax.refinement; from jax._src import xla_bridge as b; print(bool(b._backends))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "False"
