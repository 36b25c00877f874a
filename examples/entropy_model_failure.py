"""Why the bitstream is indices: a learned entropy model, written on one backend, read on another.

    python examples/entropy_model_failure.py [--output DIR]        needs pip install 'cbvc-jax[train,export,failure]'

A codec with a learned prior computes probabilities by a network on both sides, and an arithmetic coder needs them to be
the same to the last bit. Here a small autoregressive prior is trained on the real indices of the bundled clip, and its
arithmetic-coded stream, written with JAX, is read three times: with JAX, with the same prior in NumPy (another order of
additions, no more), and with onnxruntime where that is installed. The same frames as a `.cbv` file are read beside it
by a backend that is not JAX either. Prints where each reading goes wrong, and draws the last frame of each.
"""

from __future__ import annotations

import argparse
import io
import itertools
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from constriction import stream as coding  # pyright: ignore[reportAttributeAccessIssue]
from PIL import Image, ImageDraw

import cbvc_jax
from cbvc_jax.bitstream import StreamReader
from cbvc_jax.codec import CodedFrame, Decoder
from cbvc_jax.export.backends import BACKENDS, open_backend

RATE, FRAMES, STEPS = "low", 12, 400
CLIP = resources.files("cbvc_jax") / "assets" / "clip" / "city_cc0.mp4"
WIDTH = 64
Logits = Callable[[np.ndarray], np.ndarray]


def contexts(now: np.ndarray, before: np.ndarray, size: int) -> np.ndarray:
    """What the prior sees of each index [2, rows, cols]: the frame before, left, above, the other group; [n, 4]."""
    padded = np.pad(now.astype(np.int32), ((0, 0), (1, 0), (1, 0)), constant_values=size)
    other = np.stack([np.full_like(now[0], size, dtype=np.int32), now[0].astype(np.int32)])
    seen = [before.astype(np.int32), padded[:, 1:, :-1], padded[:, :-1, 1:], other]
    return np.stack(seen, axis=-1).reshape(-1, len(seen))


def forward(xp, params: dict, context, relu):
    """Logits [n, K] of the prior: embeddings, two layers, and an output layer."""
    hidden = params["embed"][xp.arange(4), context].reshape(len(context), -1)
    for layer in ("first", "second"):
        hidden = relu(hidden @ params[layer])
    return hidden @ params["output"]


def train_prior(frames: list[np.ndarray], size: int) -> dict:
    """Parameters of a prior of the first stage's indices of these frames."""
    pairs = list(itertools.pairwise(frames))
    context = jnp.asarray(np.concatenate([contexts(now, before, size) for before, now in pairs]))
    target = jnp.asarray(np.concatenate([now.reshape(-1) for _, now in pairs]).astype(np.int32))
    rngs = jax.random.split(jax.random.key(0), 4)
    params = {
        "embed": 0.1 * jax.random.normal(rngs[0], (4, size + 1, 16)),
        "first": 0.1 * jax.random.normal(rngs[1], (64, WIDTH)),
        "second": 0.1 * jax.random.normal(rngs[2], (WIDTH, WIDTH)),
        "output": 0.1 * jax.random.normal(rngs[3], (WIDTH, size)),
    }
    optimizer = optax.adam(3e-3)

    def loss(params):
        logits = forward(jnp, params, context, jax.nn.relu)
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state, value = optimizer.init(params), jnp.inf
    for _ in range(STEPS):
        params, state, value = step(params, state)
    print(f"the prior takes {float(value) / np.log(2):.2f} bits an index, where fixed length takes {np.log2(size):.0f}")
    return params


def backends(params: dict) -> dict[str, Logits]:
    """The prior in each runtime: context [1, 4] to logits [1, K], float32."""
    run = jax.jit(lambda context: forward(jnp, params, context, jax.nn.relu))
    plain = {name: np.asarray(value) for name, value in params.items()}
    found: dict[str, Logits] = {
        "JAX": lambda context: np.asarray(run(context)),
        "NumPy": lambda context: forward(np, plain, context, lambda x: np.maximum(x, np.float32(0))),
    }
    if BACKENDS["onnxruntime"].installed:
        found["onnxruntime"] = _onnx(plain)
    return found


def _onnx(plain: dict[str, np.ndarray]) -> Logits:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    # The embeddings are looked up outside; the products are the runtime's.
    names = ["first", "second", "output"]
    nodes, x = [], "hidden"
    for name in names:
        nodes.append(helper.make_node("MatMul", [x, name], [f"{name}_product"]))
        x = f"{name}_product"
        if name != "output":
            nodes.append(helper.make_node("Relu", [x], [f"{name}_relu"]))
            x = f"{name}_relu"
    graph = helper.make_graph(
        nodes,
        "prior",
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, plain["output"].shape[1]])],
        [numpy_helper.from_array(plain[name], name) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda c: np.asarray(session.run(None, {"hidden": plain["embed"][np.arange(4), c].reshape(1, -1)})[0])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax in float64, so that only the network itself can differ."""
    e = np.exp(logits[0].astype(np.float64) - logits.max())
    return e / e.sum()


def code(frames: list[CodedFrame], sizes: tuple[int, ...], logits: Logits, stream=None):
    """Writes the indices of predicted frames with the prior's probabilities, or reads them from `stream`.

    Returns the stream, or the frames as read, and how many first-stage indices were right in a row.
    """
    coder = coding.queue.RangeEncoder() if stream is None else coding.queue.RangeDecoder(stream)
    read, right, wrong = [frames[0]], 0, False
    for frame in frames[1:]:
        before = read[-1].indices[0] if read[-1].rate == RATE else np.zeros_like(frame.indices[0])
        stages = [np.zeros_like(i) for i in frame.indices]
        for g, row, col in np.ndindex(stages[0].shape):
            place = g * stages[0][0].size + row * stages[0].shape[2] + col
            context = contexts(stages[0], before, sizes[0])[place : place + 1]
            model = coding.model.Categorical(probabilities(logits(context)), perfect=False)
            if stream is None:
                stages[0][g, row, col] = frame.indices[0][g, row, col]
                coder.encode(np.array([stages[0][g, row, col]], np.int32), model)
            else:
                stages[0][g, row, col] = coder.decode(model)
                wrong |= stages[0][g, row, col] != frame.indices[0][g, row, col]
                right += not wrong
        for s in (1, 2):
            uniform = coding.model.Uniform(sizes[s])
            if stream is None:
                stages[s] = frame.indices[s]
                coder.encode(stages[s].reshape(-1).astype(np.int32), uniform)
            else:
                stages[s] = coder.decode(uniform, stages[s].size).reshape(stages[s].shape).astype(np.uint16)
        read.append(CodedFrame(frame.kind, frame.rate, tuple(stages)))
    return coder.get_compressed() if stream is None else (read, right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of the picture (default: demo)")
    args = parser.parse_args()
    model = cbvc_jax.load_model()
    file = io.BytesIO()
    with cbvc_jax.open_video(str(CLIP), size=(240, 136)) as video:
        for _ in cbvc_jax.encode(itertools.islice(video, FRAMES), file, model, video.info, RATE):
            pass
        height, width = video.info.height, video.info.width
    file.seek(0)
    reader = StreamReader(file)
    reader.use_tables(model.tables)
    frames = [CodedFrame(r.kind, r.rate, r.indices) for r in reader]
    sizes = model.preset.codebook_sizes(RATE)
    total = (FRAMES - 1) * frames[1].indices[0].size
    priors = backends(train_prior([f.indices[0] for f in frames[1:]], sizes[0]))
    stream = code(frames, sizes, priors["JAX"])

    def last_picture(read: list[CodedFrame]) -> np.ndarray:
        decoder = Decoder(model, height, width)
        return np.asarray([decoder.push(f.rate, f.indices) for f in read][-1])

    pictures = {}
    for name, logits in priors.items():
        read, right = code(frames, sizes, logits, stream)
        print(f"entropy model written with JAX, read with {name}: {right} of {total} indices before an error")
        pictures[f"entropy model: JAX to {name}"] = last_picture(read)
    other = next((b.name for b in BACKENDS.values() if b.installed and b.name != "jax-export"), "jax-export")
    file.seek(0)
    shown = [frame.rgb for frame in cbvc_jax.StreamDecoder(file, decoder=open_backend(other))]
    print(f".cbv written with JAX, decoded with {other}: {total} of {total}")
    pictures[f"indices: JAX to {other}"] = shown[-1]
    args.output.mkdir(parents=True, exist_ok=True)
    _draw(pictures).save(args.output / "entropy_model_failure.png")
    print(args.output / "entropy_model_failure.png")


def _draw(pictures: dict[str, np.ndarray]) -> Image.Image:
    height, width, _ = next(iter(pictures.values())).shape
    sheet = Image.new("RGB", (len(pictures) * (width + 8) - 8, height + 20), "white")
    for i, (caption, picture) in enumerate(pictures.items()):
        sheet.paste(Image.fromarray(picture), (i * (width + 8), 20))
        ImageDraw.Draw(sheet).text((i * (width + 8) + 2, 4), caption, fill="black")
    return sheet


if __name__ == "__main__":
    main()
