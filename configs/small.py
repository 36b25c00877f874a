"""`small`: begins as `python -m cbvc_jax.training.begin` makes it, keyframes of `tiny`, and goes on with GOPs of 7.

`configs/small.py:priced` goes on from the model that `--config.init_from` names, under a price of bits.
"""

import ml_collections

from configs import tiny


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant not in ("", "priced"):
        raise ValueError(f"'{variant}' is no variant of small; there is: priced")
    config = tiny.get_config("priced" if variant else "longer")
    config.preset = "small"
    config.fading = 0.0
    config.codebook.start_vectors = 12
    if variant:
        config.lr = 2e-4
        config.phases.gops.steps = 2500
    else:
        config.init_from = "models/small-begin"
        config.lr, config.lr_warmup, config.lr_decay, config.final_lr_ratio = 3e-4, 50, 0.7, 0.4
        config.reference_gradient, config.max_norm = 0.5, 4.0
        config.codebook.decay = 0.99
        config.phases.gops.update({"steps": 1000, "predicted_warmup": 1})
    return config
