"""What many tests need: a small untrained model on disk, moving pictures, a compilation cache that is kept."""

from __future__ import annotations

import os

import jax
import numpy as np
import pytest

from cbvc_jax import compilation
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.model import init_params
from cbvc_jax.presets import Preset
from cbvc_jax.weights import Model, load_model, save_model
from tests.mini_preset import DISPLACING_MINI, MINI

# Most of the quick suite's time is XLA's, compiling programs that then run once: with fewer optimisations it takes two
# thirds of it. `make test-all` compiles as users do.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache():
    use_compilation_cache()
    if "optimization_level=0" in os.environ["XLA_FLAGS"]:
        compilation.X86_64 = {}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A `mini` with random weights: enough for everything but quality and the preset's own numbers."""
    folder = tmp_path_factory.mktemp("models") / "random"
    save_model(folder, MINI, *init_params(jax.random.PRNGKey(0), MINI), "# random\n")
    return folder


@pytest.fixture(scope="session")
def model(model_folder) -> Model:
    return load_model(model_folder)


@pytest.fixture(scope="session")
def displacing_model(tmp_path_factory) -> Model:
    """A `mini` whose latents are pictures, with random weights."""
    folder = tmp_path_factory.mktemp("models") / "displacing"
    save_model(folder, DISPLACING_MINI, *init_params(jax.random.PRNGKey(0), DISPLACING_MINI), "# random\n")
    return load_model(folder)


@pytest.fixture(scope="session")
def mini_preset() -> Preset:
    """A preset that trains, exports and compiles in seconds."""
    return MINI


@pytest.fixture(scope="session")
def moving():
    """moving(n, height, width): n frames of a smooth texture that slides and brightens."""

    def make(n: int, height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[:height, :width].astype(np.float32)
        frames = [
            np.stack([127 + 80 * np.sin((x + 3 * t) / (7 + c)) * np.cos((y - t) / (9 + c)) + t for c in range(3)], -1)
            for t in range(n)
        ]
        return np.clip(np.stack(frames), 0, 255).astype(np.uint8)

    return make
