"""Step 3: a few real numbers can name very many images. Random ones work, and mean nothing.

    MINIVAE_FAST=1 python examples/03_real_codes.py      4 s
    python examples/03_real_codes.py                     10 s

Ten real numbers are a code, however many images there are: the first layer stays at 10 · 128
weights. Any codes will do to learn by heart. But drawn at random they have no geometry: who is near
whom was decided by dice. The image with the nearest code shows the same digit one time in ten, and
an image that was not learned has no code at all: another throw of the dice decodes to something
else, further off than the mean of all images. Codes computed from the images by an encoder, trained
along with the decoder, put like near like, and an image never seen before has one, too.
"""

# %%
import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

from minivae import Adam, plots
from minivae.devices.ops import pick
from minivae.networks import Linear, Network, dense, size, views

N, EPOCHS = (200, 400) if QUICK else (500, 600)
B, J, H = 100, 10, 128  # images a batch, numbers in a code, hidden units
(images, labels), (test_images, _) = load(train=N, test=1000)
rng = np.random.default_rng(0)
ops = pick()  # the functions of layers.py and distributions.py for the CPU


# %% One decoder, codes of two kinds
def learn(codes=None):
    """From these codes (N, J), or from an encoder's -> the functions encode and decode."""
    encoder = dense("encoder", (784, H), "sigmoid", ops, input_gradient=False)
    encoder = Network([*encoder.layers, Linear("encoder.1", H, J, ops)])  # any numbers: no sigmoid
    decoder = dense("decoder", (J, H, 784), "sigmoid", ops)
    shapes = encoder.shapes | decoder.shapes
    theta = np.zeros(size(shapes), np.float32)
    dtheta = np.zeros_like(theta)
    params, grads = views(theta, shapes), views(dtheta, shapes)
    weights = np.random.default_rng(0)
    encoder.init(weights, params)
    decoder.init(weights, params)
    adam = Adam(theta, lr=1e-2)
    dsse = np.full(B, 1 / B, np.float32)

    def encode(x):
        return encoder.forward(x, params)[-1]

    def decode(z):
        return decoder.forward(z, params)[-1]

    for _ in range(EPOCHS):
        for rows in rng.permutation(N).reshape(-1, B):
            x = images[rows]
            if codes is None:
                encoded = encoder.forward(x, params)  # x, and what each layer makes of it
                z = encoded[-1]
            else:
                z = codes[rows]
            decoded = decoder.forward(z, params)
            dmean = ops.squared_error_backward(dsse, x, decoded[-1])
            dz = decoder.backward(dmean, decoded, params, grads)
            if codes is None:
                encoder.backward(dz, encoded, params, grads)
            adam.step(theta, dtheta)
    return encode, decode


def error(x, decoded):
    return np.mean(ops.squared_error_forward(x, decoded))


def neighbours(codes):
    """The images in the order of their codes' distance, (N, N); the first is the image itself."""
    square = np.sum(codes**2, axis=1)
    return np.argsort(square[:, None] + square - 2 * codes @ codes.T, axis=1)


def same_digit(codes):
    """The share of images whose nearest code is that of an image of the same digit."""
    return np.mean(labels[neighbours(codes)[:, 1]] == labels)


random_codes = 3 * rng.standard_normal((N, J), dtype=np.float32)
new_codes = 3 * rng.standard_normal((len(test_images), J), dtype=np.float32)
_, decode_random = learn(random_codes)
encode, decode = learn()
codes = encode(images)
new = {"random codes": decode_random(new_codes), "encoder's codes": decode(encode(test_images))}


# %% The numbers; each ± is four standard deviations over seeds, or more
def four(*values):
    return dict(zip(("mnist", "mnist quick", "strokes", "strokes quick"), values))


numbers = Numbers()
learned = error(images, decode_random(random_codes)), error(images, decode(codes))
numbers.hold("learned images, random codes: squared error", learned[0], four(14, 5.3, 11, 3.7), 1)
numbers.hold("learned images, encoder's codes", learned[1], four(2.5, 2, 1.1, 1), 1)
fresh = [error(test_images, decoded) for decoded in new.values()]
numbers.hold("new images, new random codes", fresh[0], four(84, 76, 75.6, 67.7), 4)
numbers.hold("new images, encoder's codes", fresh[1], four(36.6, 37.7, 16.5, 18.5), 2)
mean_image = error(test_images, np.mean(images, axis=0, keepdims=True))
numbers.hold("new images, the mean image", mean_image, four(51.3, 51.7, 44, 44.1), 0.1)
numbers.hold("nearest code: same digit (share), random", same_digit(random_codes), 0.1, 0.1)
numbers.hold("the same, encoder's codes", same_digit(codes), four(0.84, 0.82, 0.93, 0.9), 0.1)

# %% The picture: who is whose neighbour, and what becomes of new images
figure = Figure(figsize=(7, 7), layout="constrained")
top, bottom = figure.subplots(2, 1, height_ratios=(2, 1.1))
blank = np.full((1, 784), np.nan)
nearest = [neighbours(z)[k, :9] for k in (2, 3, 4) for z in (random_codes, codes)]
rows = np.stack([np.concatenate([images[i[:1]], blank, images[i[1:]]]) for i in nearest])
plots.digit_grid(rows, top, ["random codes", "encoder's codes"] * 3, ["image"])
top.set_title("An image, and the eight images with the nearest codes")
plots.reconstructions(test_images[:10], {k: x[:10] for k, x in new.items()}, bottom)
bottom.set_title("New images, decoded: from new random codes, and from the encoder's")
save(figure, "03_real_codes")
numbers.leave()
