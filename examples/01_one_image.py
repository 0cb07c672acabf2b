"""Step 1: a decoder learns one image by heart. Nothing tells it which: its input is always ones.

    MINIVAE_FAST=1 python examples/01_one_image.py      2 s
    python examples/01_one_image.py                     3 s

A network makes a picture out of a few numbers, and Adam moves its weights until the picture is the
one that was asked for: the squared error, summed over the pixels, falls to 0. All that it knows is
then in its weights, for the input never changes. For the same reason it can hold one image only.
Asked for two, it gives their mean, the picture with the smallest squared error to both, which is
‖a − b‖² / 4. To choose between images it needs an input that differs: a code. That is step 2.
"""

# %% One image, and a second
import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, load, save

from minivae import Adam, plots
from minivae.devices.ops import pick
from minivae.networks import dense, size, views

STEPS = 1000 if QUICK else 3000
SHOWN = (0, 3, 10, 30, 100, 1000)  # the steps after which the picture is kept
all_images, labels = load(train=20)[0]
images = all_images[[0, np.argmax(labels != labels[0])]]  # two digits
ops = pick()  # the functions of layers.py and distributions.py for the CPU


# %% The decoder: 10 numbers, 128 hidden units, 784 pixels, each layer with a sigmoid
def learn(x):
    """Images x (B, D), all from ones -> squared error an image after each step, pictures."""
    decoder = dense("decoder", (10, 128, 784), "sigmoid", ops, input_gradient=False)
    theta = np.zeros(size(decoder.shapes), np.float32)
    dtheta = np.zeros_like(theta)
    params, grads = views(theta, decoder.shapes), views(dtheta, decoder.shapes)
    decoder.init(np.random.default_rng(0), params)
    adam = Adam(theta, lr=1e-2)
    ones = np.ones((len(x), 10), np.float32)
    errors, pictures = [], []
    for step in range(STEPS + 1):
        values = decoder.forward(ones, params)  # the input, and what each layer makes of it
        decoded = values[-1]  # (B, D)
        sse = ops.squared_error_forward(x, decoded)  # (B,)
        errors.append(np.mean(sse))
        if step in SHOWN:
            pictures.append(decoded[0])
        dsse = np.full_like(sse, 1 / len(x))
        ddecoded = ops.squared_error_backward(dsse, x, decoded)
        decoder.backward(ddecoded, values, params, grads)
        adam.step(theta, dtheta)
    return errors, pictures


one, one_pictures = learn(images[:1])
two, two_pictures = learn(images)
mean_image = np.mean(images, axis=0, keepdims=True)
least = np.mean(ops.squared_error_forward(images, mean_image))

# %% The numbers; seeds give 181 to 184, 0.0005 to 0.0072, 1.0000 to 1.0003
numbers = Numbers()
numbers.hold("one image: squared error at the start", one[0], 182, within=5)
numbers.hold(f"one image: after {STEPS:,} steps", one[-1], 0, within=0.01)
numbers.hold("two images: error / (‖a − b‖² / 4)", two[-1] / least, 1, within=0.001)

# %% The picture: how the image comes, and what becomes of two
figure = Figure(figsize=(8, 6.4), layout="constrained")
top, bottom = figure.subplots(2, 1, height_ratios=(1, 1.3))
blank = np.full(784, np.nan)
rows = np.stack([[*one_pictures, blank, images[0], blank], [*two_pictures, blank, *images]])
columns = [*map(str, SHOWN), "", "asked for", ""]
plots.digit_grid(rows, top, ["one image", "two images"], columns)
top.set_title("What a decoder gives for an input of ones, after so many steps of Adam")
bottom.loglog(np.arange(1, STEPS + 2), one, color=plots.BLUE, label="one image")
bottom.loglog(np.arange(1, STEPS + 2), two, "--", color=plots.ORANGE, label="two images")
bottom.axhline(least, color="black", linestyle=":", label="their mean: ‖a − b‖² / 4")
bottom.set_xlabel("step")
bottom.set_ylabel("squared error an image")
bottom.legend()
save(figure, "01_one_image")
numbers.leave()
