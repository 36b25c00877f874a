"""`tiny`: keyframes alone first, then GOPs of 7 in sessions of four chunks, all rates; two hours on two cores.

`configs/tiny.py:longer` goes on from the model that `--config.init_from` names, gently, and asks that differences in
y_ref fade: two hours on one core. `configs/tiny.py:priced` goes on from there under a price of bits: one hour.
"""

import ml_collections

from configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant not in ("", "longer", "priced"):
        raise ValueError(f"'{variant}' is no variant of tiny; there are: longer, priced")
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
    if variant:
        config.phase_order = ("gops",)
        config.phases.gops.predicted_warmup = 0
        config.fading = 0.3
    if variant == "longer":
        config.phases.gops.steps = 4100
        config.lr, config.lr_warmup, config.lr_decay = 2.5e-4, 100, 0.9
        config.reference_gradient, config.max_norm = 0.5, 2.0
        config.codebook.decay = 0.995
    if variant == "priced":
        config.phases.gops.steps = 2000
        config.lr, config.lr_warmup, config.lr_decay = 1.5e-4, 40, 0.8
        config.reference_gradient, config.max_norm = 0.3, 4.0
        config.codebook.decay = 0.99
        config.codebook.price, config.codebook.draw_price = 0.03, True
    return config
