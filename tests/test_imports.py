"""What an import costs, and who imports whom."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cbvc_jax

ROOT = Path(__file__).parent.parent
HEAVY = ("jax", "flax", "numpy", "av", "PIL", "tensorflow", "optax", "clu", "ml_collections", "orbax")


def modules_after(statement: str) -> tuple[set[str], float]:
    """(top-level modules loaded, seconds of processor time) of one statement in a fresh interpreter."""
    code = (
        "import json, sys, time\nstart = time.process_time()\n"
        f"{statement}\n"
        "spent = time.process_time() - start\n"
        "print(json.dumps([sorted({name.split('.')[0] for name in sys.modules}), spent]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    names, spent = json.loads(done.stdout)
    return set(names), spent


def test_the_package_itself_is_light():
    loaded, spent = modules_after("import cbvc_jax")
    assert loaded.isdisjoint(HEAVY)
    assert spent < 0.2


def test_reading_streams_needs_no_jax():
    loaded, _ = modules_after("import cbvc_jax; cbvc_jax.StreamReader; cbvc_jax.summarize")
    assert "numpy" in loaded
    assert loaded.isdisjoint(set(HEAVY) - {"numpy"})


def test_help_and_info_start_without_jax():
    loaded, _ = modules_after("import cbvc_jax.cli.main")
    assert loaded.isdisjoint({"jax", "flax", "av"})


def test_coding_needs_no_training_package():
    loaded, _ = modules_after("import cbvc_jax.codec, cbvc_jax.evaluation.compare, cbvc_jax.weights")
    assert loaded.isdisjoint({"tensorflow", "clu", "ml_collections"})


def test_every_public_name_is_there():
    for name in cbvc_jax.__all__:
        assert getattr(cbvc_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cbvc_jax.nothing


def test_import_contracts():
    """The contracts in pyproject.toml hold, which `lint-imports` tells."""
    pytest.importorskip("importlinter")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - start < 60
