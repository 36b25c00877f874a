"""Measures a model in training: `python eval.py --config configs/tiny.py --workdir runs/tiny --clips FOLDER`.

The newest checkpoint becomes a model in WORKDIR/eval/step_N, which is measured as `cbvc rd` measures any other; points
and report lie in WORKDIR/eval, a curve a checkpoint. Options of `cbvc rd` follow after `--`, as in `-- --gop 12 32`.
"""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from cbvc_jax.cli.main import main as cbvc
from cbvc_jax.errors import CbvcError, ModelError
from cbvc_jax.weights import save_model

CONFIG = config_flags.DEFINE_config_file("config", None, "The run's configuration.")
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.")
CLIPS = flags.DEFINE_multi_string("clips", None, "A video, or a folder of videos; may be given several times.")


def newest_model(out: Path) -> Path:
    """Folder of the newest checkpoint as a model, below `out`; ModelError if the run has none."""
    from cbvc_jax.training.checkpoints import Checkpoints
    from cbvc_jax.training.state import config_preset

    found = (Path(str(WORKDIR.value)) / "checkpoints").is_dir()
    state = Checkpoints(str(WORKDIR.value), CONFIG.value).restore_latest() if found else None
    if state is None:
        raise ModelError(f"'{WORKDIR.value}' has no checkpoint")
    folder, card = out / f"step_{int(state.step)}", f"# {CONFIG.value.preset}\n\nA checkpoint of training.\n"
    save_model(folder, config_preset(CONFIG.value), state.params, state.codebooks, card)
    return folder


def main(argv: list[str]) -> None:
    out = Path(str(WORKDIR.value)) / "eval"
    try:
        model = newest_model(out)
    except CbvcError as error:
        sys.exit(f"eval.py: {error}")
    sys.exit(cbvc(["rd", *(CLIPS.value or []), "--out", str(out), "--model", str(model), *argv[1:]]))


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir", "clips"])
    app.run(main)
