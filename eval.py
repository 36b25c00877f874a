"""Measures a model in training: `python eval.py --config configs/tiny.py --workdir runs/tiny --clips FOLDER`.

The newest checkpoint becomes a model in WORKDIR/eval/step_N, which is measured as `cbvc rd` measures any other; points
and report lie in WORKDIR/eval, a curve a checkpoint.
"""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.errors import CbvcError, ModelError
from cbvc_jax.evaluation import rd
from cbvc_jax.evaluation.anchors import find_anchor
from cbvc_jax.evaluation.clips import find_clips
from cbvc_jax.evaluation.records import Records
from cbvc_jax.evaluation.report.write import write_report
from cbvc_jax.weights import save_model

CONFIG = config_flags.DEFINE_config_file("config", None, "The run's configuration.")
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.")
CLIPS = flags.DEFINE_multi_string("clips", None, "A video, or a folder of videos; may be given several times.")
FRAMES = flags.DEFINE_integer("frames", 96, "Frames of each clip, from its start.", lower_bound=1)
ANCHORS = flags.DEFINE_list("anchors", ["x265-crf"], "Conventional codecs, as for `cbvc rd`; empty for none.")


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


def main(_: list[str]) -> None:
    use_compilation_cache()
    out = Path(str(WORKDIR.value)) / "eval"
    try:
        plan = rd.Plan((str(newest_model(out)),), anchors=tuple(map(find_anchor, ANCHORS.value)))
        records = Records(out)
        for task, error in rd.run(rd.tasks(plan, find_clips(CLIPS.value or [], FRAMES.value), out), records):
            print(error or f"{task.clip.name} {task.settings.series} {task.settings.setting}", flush=True)
        write_report(records, out)
    except CbvcError as error:
        sys.exit(f"eval.py: {error}")
    print(out / "report.html")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir", "clips"])
    app.run(main)
