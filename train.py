"""Trains a model: `python train.py --config configs/tiny.py --workdir runs/tiny --config.data.folders=DIR`."""

import logging as std_logging
import os
import sys

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.errors import CbvcError
from cbvc_jax.process import restart_keeping_memory
from cbvc_jax.training.configuration import parse_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "Training configuration, e.g. configs/tiny.py.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints and metrics; an earlier run goes on.")
STOP_AFTER = flags.DEFINE_float("stop_after", None, "Save and stop after so many seconds.")
JOIN = flags.DEFINE_bool("join", False, "One process of several: of a pod, or as $JAX_COORDINATOR_ADDRESS says.")
flags.mark_flags_as_required(["config", "workdir"])


def main(_: list[str]) -> None:
    from cbvc_jax.training.loop import train

    logging.set_verbosity(logging.INFO)
    std_logging.getLogger("jax").setLevel(std_logging.WARNING)
    if JOIN.value:
        processes, number = (os.environ.get(f"JAX_{name}") for name in ("NUM_PROCESSES", "PROCESS_ID"))
        jax.distributed.initialize(
            num_processes=int(processes) if processes else None, process_id=int(number) if number else None
        )
    use_compilation_cache()
    logging.info("devices: %s", jax.devices())
    try:
        train(CONFIG.value, str(WORKDIR.value), STOP_AFTER.value)
    except CbvcError as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    restart_keeping_memory()
    app.run(main, flags_parser=parse_flags)
