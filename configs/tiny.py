"""`tiny`: keyframes alone first, then GOPs of 7 in sessions of four chunks, all rates; two hours on two cores.

`configs/tiny.py:longer` goes on from the model that `--config.init_from` names, gently, and asks that differences in
y_ref fade: two hours on one core.
"""

import ml_collections

from configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant not in ("", "longer"):
        raise ValueError(f"'{variant}' is no variant of tiny; there is: longer")
    config = base.get_config()
    config.preset = "tiny"
    config.rates = ("high", "medium", "low")
    config.lr = 1.5e-3
    config.lr_warmup = 200
    config.lr_decay = 0.5
    config.reference_gradient = 0.7
    config.unroll = True
    config.phases = ml_collections.ConfigDict(
        {
            "keyframes": base.phase(steps=2500, batch=32, frames=1, crop=128, still_share=0.5, key_warmup=400),
            "gops": base.phase(
                steps=6000, batch=6, frames=7, chunks=4, crop=128, still_share=0.15, predicted_warmup=200
            ),
        }
    )
    config.phase_order = ("keyframes", "gops")
    if variant == "longer":
        config.lr, config.lr_warmup, config.lr_decay = 2.5e-4, 100, 0.9
        config.fading, config.reference_gradient, config.max_norm = 0.3, 0.5, 2.0
        config.codebook.decay = 0.995
        config.phases.gops.update({"steps": 4100, "predicted_warmup": 0})
        config.phase_order = ("gops",)
    return config
