"""Turns a training run's newest checkpoint into a model that `cbvc` uses.

python -m cbvc_jax.training.ship --config configs/tiny.py --workdir runs/tiny --out DIR [--card MODEL_CARD.md]

With --tables, the checkpoint's running counts of how often each codeword is used become the model's initial tables of
index coding, integers that its streams then need.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from cbvc_jax.bitstream import CheckedTables, table_of_counts
from cbvc_jax.errors import CbvcError, ModelError
from cbvc_jax.training.checkpoints import Checkpoints
from cbvc_jax.training.state import TrainState, config_preset
from cbvc_jax.weights import save_model

CONFIG = config_flags.DEFINE_config_file("config", None, "The run's configuration.")
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.")
OUT = flags.DEFINE_string("out", None, "Folder of the model.")
CARD = flags.DEFINE_string("card", None, "Its MODEL_CARD.md; an empty one otherwise.")
TABLES = flags.DEFINE_bool("tables", False, "Give it initial tables of index coding, from the running counts.")


def index_tables(state: TrainState) -> CheckedTables:
    """Initial tables of index coding, uint16 [groups, K] by kind and stage, from the running counts of a state."""
    averages = jax.device_get(state.averages)
    return {kind: tuple(table_of_counts(mean.count) for mean in stages) for kind, stages in averages.items()}


def main(_: list[str]) -> None:
    checkpoints = Checkpoints(str(WORKDIR.value), CONFIG.value)
    try:
        state = checkpoints.restore_latest()
        if state is None:
            raise ModelError(f"'{WORKDIR.value}' has no checkpoint")
        card = Path(CARD.value).read_text() if CARD.value else f"# {CONFIG.value.preset}\n\nNo card was given.\n"
        tables = index_tables(state) if TABLES.value else None
        preset = config_preset(CONFIG.value)
        identity = save_model(str(OUT.value), preset, state.params, state.codebooks, card, tables)
    except CbvcError as error:
        sys.exit(f"ship: {error}")
    print(f"{OUT.value}: step {int(state.step)}, model {identity.hex()}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir", "out"])
    app.run(main)
