"""Pictures of a run. A function that takes an `ax` of matplotlib draws into it and returns it."""

import io
import math
from pathlib import Path

import numpy as np

from .checkpoint import write_atomically
from .gradcheck import DIRECTION
from .slopes import central_difference, complex_step

TITLES = {"loss_auto_encode": "Autoencoder: nll + KL", "ce": "Classifier: cross-entropy"}


def digit_grid(images, ax, side=28):
    """images (epochs, columns, side · side) in [0, 1], the row of an epoch under that before it."""
    rows, columns = images.shape[:2]
    tiles = images.reshape(rows, columns, side, side).transpose(0, 2, 1, 3)
    ax.imshow(tiles.reshape(rows * side, columns * side), cmap="gray", vmin=0, vmax=1)
    ax.set_xticks(side * np.arange(columns) + side / 2, range(columns))
    ax.set_yticks(side * np.arange(rows) + side / 2, range(1, rows + 1))
    ax.tick_params(length=0)
    ax.set_ylabel("epoch")
    return ax


def loss_curve(history, term, ax):
    """A term of the history in nats, "loss_auto_encode" or "ce", over the epochs."""
    epochs = [row["epoch"] for row in history]
    styles = {"train": ("o--", "training, as the weights moved"), "test": ("o-", "test")}
    for split, (style, label) in styles.items():
        if f"{split}_{term}" in history[0]:
            values = [row[f"{split}_{term}"] for row in history]
            ax.plot(epochs, values, style, markersize=3, label=label)
    ax.set_title(TITLES[term])
    ax.set_xlabel("epoch")
    ax.set_ylabel("nats an image")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax


def save_figures(folder, history, grid):
    """Write samples.png, the grid (epochs, 10, D), and losses.png into a new folder -> paths."""
    from matplotlib.figure import Figure

    folder.mkdir()
    paths = [folder / "losses.png", folder / "samples.png"]
    terms = [term for term in TITLES if history[0][f"train_{term}"] is not None]
    figure = Figure(figsize=(5 * len(terms), 3.6), layout="constrained")
    for i, term in enumerate(terms, start=1):
        loss_curve(history, term, figure.add_subplot(1, len(terms), i))
    figure.savefig(paths[0], dpi=120)
    figure = Figure(figsize=(5, 0.45 * len(grid) + 1.1), layout="constrained")
    ax = digit_grid(grid, figure.add_subplot())
    conditional = "ce" in terms
    ax.set_title("After each epoch: " + ("one random style" if conditional else "ten samples"))
    ax.set_xlabel("digit asked for" if conditional else "sample")
    figure.savefig(paths[1], dpi=120)
    return paths


def step_sizes(loss, theta, dtheta, ax, seed=0):
    """The error of the derivative along one random direction, by step size; arguments of gradcheck.

    Central differences are a V: to the right the curvature that a long step sees, to the left the
    digits that the subtraction loses. The complex step has the first and not the second. A float32
    gradient lifts both to its own rounding. An error of 0 is drawn at 1e-17.
    """
    v = np.random.default_rng([seed, DIRECTION]).standard_normal(theta.shape)
    v /= math.sqrt(v @ v)
    theta, dtheta = theta.astype(np.float64), dtheta.astype(np.float64)
    size = math.sqrt(dtheta @ dtheta / len(theta))  # of the derivative along v

    def errors(derivative, steps):
        slopes = [derivative(lambda t: loss(theta + t * v), step) for step in steps]
        return np.abs(np.array(slopes) - dtheta @ v) / size

    steps = np.logspace(-30, 1, 63)
    central = steps[steps >= 1e-14]
    ax.loglog(central, errors(central_difference, central), "s-", label="central differences")
    ax.loglog(steps, np.maximum(errors(complex_step, steps), 1e-17), "o--", label="complex step")
    ax.text(1e-15, 1e-3, "rounding: the difference\nloses its digits", ha="right")
    ax.text(10, 2e-16, "curvature\n(and kinks)", ha="right")
    ax.set_ylim(1e-18, 1e6)
    ax.set_xlabel("step h, the length of the move of all parameters")
    ax.set_ylabel("error, relative to ‖gradient‖ / √P")
    ax.set_title("A slope by its definition")
    ax.legend(loc="upper center", ncol=2)
    return ax


def save_step_sizes(path, loss, theta, dtheta, about):
    """Write the figure of step_sizes to a PNG file; about: which model, for the title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    ax = step_sizes(loss, theta, dtheta, figure.add_subplot())
    ax.set_title(f"{ax.get_title()}\n{about}")
    png = io.BytesIO()
    figure.savefig(png, dpi=120)
    write_atomically(Path(path), png.getvalue())
