"""Step 4: the codes come from an encoder. A saved code gives the picture back.

    MINIVAE_FAST=1 python examples/04_autoencoder.py      4 s
    python examples/04_autoencoder.py                     25 s

Encoder and decoder are trained together: the gradient of the squared error runs through the decoder
to the code, and on into the encoder. An image that neither has ever seen then has a code, too: ten
numbers, from which the decoder draws it again. Encoder and decoder without hidden layers could do
no better than principal components (PCA); with them ten numbers say more. What is saved is the code
and, once for all images, the decoder: both are read back, and the picture is the same to the bit.
What it cannot do is step 5.
"""

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

from minivae import Adam, plots
from minivae.devices.ops import pick
from minivae.networks import Linear, Network, dense, size, views

N, EPOCHS = (5_000, 20) if QUICK else (None, 20)
B, J, H = 100, 10, 128  # images a batch, numbers in a code, hidden units
(images, _), (test_images, _) = load(train=N, test=1_000)
ops = pick()  # the functions of layers.py and distributions.py for the CPU

# %% Two networks; a code may be any number: no sigmoid after the encoder's last layer
encoder = dense("encoder", (784, H), "sigmoid", ops, input_gradient=False)
encoder = Network([*encoder.layers, Linear("encoder.1", H, J, ops)])
decoder = dense("decoder", (J, H, 784), "sigmoid", ops)
shapes = encoder.shapes | decoder.shapes
theta = np.zeros(size(shapes), np.float32)
dtheta = np.zeros_like(theta)
params, grads = views(theta, shapes), views(dtheta, shapes)
rng = np.random.default_rng(0)
encoder.init(rng, params)
decoder.init(rng, params)

# %% Training: forward, and the same lines in reverse order
adam = Adam(theta, lr=3e-3)
rng = np.random.default_rng(0)
dsse = np.full(B, 1 / B, np.float32)
for _ in range(EPOCHS):
    for rows in rng.permutation(len(images)).reshape(-1, B):
        x = images[rows]
        encoded = encoder.forward(x, params)  # x, and what each layer makes of it
        z = encoded[-1]  # (B, J)
        decoded = decoder.forward(z, params)
        dmean = ops.squared_error_backward(dsse, x, decoded[-1])
        dz = decoder.backward(dmean, decoded, params, grads)
        encoder.backward(dz, encoded, params, grads)
        adam.step(theta, dtheta)

codes = encoder.forward(test_images, params)[-1]
decoded = decoder.forward(codes, params)[-1]
error = np.mean(ops.squared_error_forward(test_images, decoded))

# %% The best that ten numbers can do through straight lines: principal components
mean_image = np.mean(images, axis=0)
_, axes = np.linalg.eigh(np.cov(images, rowvar=False))  # columns, by rising variance
inside = (test_images - mean_image) @ axes[:, -J:] @ axes[:, -J:].T + mean_image
linear_error = np.mean(ops.squared_error_forward(test_images, inside))

# %% Save the codes and the decoder, read both, and decode again
with TemporaryDirectory() as folder:
    np.save(Path(folder, "codes.npy"), codes)
    np.savez(Path(folder, "decoder.npz"), **{name: params[name] for name in decoder.shapes})
    saved_codes = np.load(Path(folder, "codes.npy"))
    with np.load(Path(folder, "decoder.npz")) as file:
        saved_params = dict(file)
again = decoder.forward(saved_codes, saved_params)[-1]

# %% The numbers; each ± is four standard deviations over seeds, or more
numbers = Numbers()
expected = {"mnist": 13.3, "mnist quick": 20.9, "strokes": 5.0, "strokes quick": 10.1}
numbers.hold("squared error, test images, autoencoder", error, expected, within=1)
expected = {"mnist": 26.7, "mnist quick": 27.2, "strokes": 17.1, "strokes quick": 17.1}
numbers.hold("squared error, test images, PCA", linear_error, expected, within=0.1)
numbers.hold("pixels that a saved code gives otherwise", np.sum(again != decoded), 0, within=0)
numbers.hold("bytes of a code (an image has 784)", codes[0].nbytes, 40, within=0)

# %% The picture: image, code, image
figure = Figure(figsize=(10, 4), layout="constrained")
grid = figure.subplots(3, 10)
largest = 1.05 * np.max(np.abs(codes[:10]))
for k, column in enumerate(grid.T):
    column[0].imshow(test_images[k].reshape(28, 28), cmap="gray", vmin=0, vmax=1)
    column[1].bar(range(J), codes[k], color=plots.BLUE)
    column[1].set_ylim(-largest, largest)
    column[2].imshow(again[k].reshape(28, 28), cmap="gray", vmin=0, vmax=1)
    for ax in column:
        ax.set_xticks([])
        ax.set_yticks([])
grid[1, 0].set_yticks([-5, 0, 5])
for ax, what in zip(grid[:, 0], ["test image", "its code:\nten numbers z", "decoded"]):
    ax.set_ylabel(what)
figure.suptitle("An image becomes ten numbers, and the ten numbers become an image")
save(figure, "04_autoencoder")
numbers.leave()
