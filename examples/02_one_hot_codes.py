"""Step 2: a code says which image. One-hot codes of length N hold N images, and no more.

    MINIVAE_FAST=1 python examples/02_one_hot_codes.py      4 s
    python examples/02_one_hot_codes.py                     20 s

Image i gets the code 0 … 0 1 0 … 0, with its 1 in place i. Such a code times the first layer's
weights is one row of them: each image has a row of its own, and what the decoder remembers of it
alone is there. So N codes hold N images without error. Where images share a code, what comes back
is their mean, as in step 1, and the error is their spread, which no training lowers. And each image
costs the first layer another 128 weights: a longer list, no understanding. Step 3: short codes.
"""

# %% N codes, and up to 4 N images: image i has code i mod N
import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

from minivae import Adam, plots
from minivae.devices.ops import pick
from minivae.networks import dense, size, views

N, STEPS = (20, 800) if QUICK else (100, 2000)
H = 128  # hidden units
COUNTS = [N // 4, N // 2, N, 2 * N, 3 * N, 4 * N]  # of images
images = load(train=COUNTS[-1])[0][0]
ops = pick()  # the functions of layers.py and distributions.py for the CPU


# %% Learn images x (M, D) by heart, each from its code
def learn(x):
    """-> squared error an image, the least that N codes allow, pictures, first layer's size."""
    which = np.arange(len(x)) % N
    codes = np.eye(N, dtype=np.float32)[which]  # (M, N)
    decoder = dense("decoder", (N, H, 784), "sigmoid", ops, input_gradient=False)
    theta = np.zeros(size(decoder.shapes), np.float32)
    dtheta = np.zeros_like(theta)
    params, grads = views(theta, decoder.shapes), views(dtheta, decoder.shapes)
    decoder.init(np.random.default_rng(0), params)
    adam = Adam(theta, lr=1e-2)
    dsse = np.full(len(x), 1 / len(x), np.float32)
    for _ in range(STEPS):
        values = decoder.forward(codes, params)  # the input, and what each layer makes of it
        ddecoded = ops.squared_error_backward(dsse, x, values[-1])
        decoder.backward(ddecoded, values, params, grads)
        adam.step(theta, dtheta)
    decoded = decoder.forward(codes, params)[-1]
    means = np.stack([np.mean(x[which == k], axis=0) for k in which])
    error, least = (np.mean(ops.squared_error_forward(x, y)) for y in (decoded, means))
    return error, least, decoded, params["decoder.0.W"].size


errors, limits, decoded, [first_layer, *_] = zip(*(learn(images[:M]) for M in COUNTS))
at = dict(zip(COUNTS, errors))

# %% The numbers; seeds give 0.013 to 0.036 and 1.0007 to 1.0023
numbers = Numbers()
numbers.hold(f"{N} codes, {N} images: squared error", at[N], 0, within=0.05)
two = at[2 * N] / limits[COUNTS.index(2 * N)]
numbers.hold(f"{N} codes, {2 * N} images: error / spread of pairs", two, 1, within=0.005)
numbers.hold("weights of the first layer, for each code", first_layer / N, 128, within=0)

# %% The picture: the error by number of images, and two of those that share a code
figure = Figure(figsize=(8, 6), layout="constrained")
top, bottom = figure.subplots(2, 1, height_ratios=(1, 1.3))
pair = decoded[COUNTS.index(2 * N)]
rows = np.stack([images[:10], images[N : N + 10], pair[:10]])
codes = [f"code {k}" for k in range(10)]
plots.digit_grid(rows, top, ["image k", f"image {N} + k", "decoded"], codes)
top.set_title(f"{2 * N} images, {N} codes: two images share a code, and their mean comes back")
bottom.plot(COUNTS, limits, "s:", color="black", label="spread of the images that share a code")
bottom.plot(COUNTS, errors, "o-", color=plots.BLUE, label=f"decoder, after {STEPS:,} steps")
bottom.axvline(N, color=plots.ORANGE, linestyle="--", label=f"{N} codes")
bottom.set_xlabel("images to be held")
bottom.set_ylabel("squared error an image")
bottom.legend()
save(figure, "02_one_hot_codes")
numbers.leave()
