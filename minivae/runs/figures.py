"""The pictures that a training leaves in its run folder."""

import math
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from .. import plots
from ..checks import one_hot
from ..config import stream

STAGES = (1, 9)  # the epochs, besides the last, whose reconstructions are kept, as in Frans 2016


def after_epoch(vae, epoch, options, images):
    """What a run keeps of an epoch -> {name: uint8 images}, in steps of 1/255.

    digits.EPOCH has ten digits in one random style, or without classes ten samples; test.EPOCH has
    the reconstructions of the images (n, D). Only the epochs that the figures show have them.
    """
    pictures = {}
    if epoch in shown(options.epochs):
        pictures[f"digits.{epoch}"] = ten_digits(vae, stream(options.seed, "styles", epoch))
    if epoch in (*STAGES, options.epochs):
        pictures[f"test.{epoch}"] = vae.reconstruct(images)
    return {name: np.rint(255 * np.clip(x, 0, 1)).astype("uint8") for name, x in pictures.items()}


def ten_digits(vae, rng):
    """Each digit in one random style; of a model without classes, ten samples -> (10, D)."""
    K = vae.config.num_classes
    z = rng.standard_normal((1 if K else 10, vae.config.latent_dim), dtype=np.float32)
    digits = one_hot(np.arange(K), (K, K), vae.dtype) if K else None
    return vae.decode(np.repeat(z, K or 1, axis=0), digits)


def save_figures(folder, vae, history, pictures, test):
    """Draw what there is to see after training -> paths.

    pictures: those of `after_epoch`, for the first test image of each digit; test: images (n, D),
    labels (n,).
    """
    images, labels = test
    last = len(history)
    pictures = {name: grey / 255 for name, grey in pictures.items()}
    grid = {i: pictures[f"digits.{i}"] for i in shown(last) if f"digits.{i}" in pictures}
    kept = [i for i in (*STAGES, last) if f"test.{i}" in pictures]
    stages = {f"epoch {i}": pictures[f"test.{i}"] for i in kept}
    terms = [term for term in plots.TITLES if history[0][f"train_{term}"] is not None]
    figures = {
        "epochs": epochs_figure(grid, last, vae.config.num_classes > 0),
        "losses": panels(*(partial(plots.loss_curve, history, term) for term in terms)),
        "reconstructions": reconstructions_figure(images[first_of_each(labels)], stages),
        "latent": panels(
            partial(plots.kl_by_dimension, vae, images), partial(plots.posterior_std, vae, images)
        ),
    }
    if vae.config.latent_dim == 2:
        ax = plots.posterior_means(vae, images[:1500], labels[:1500], plots.new_ax(7, 7))
        ax.set_title(f"Codes of {len(images[:1500]):,} test images: the means of q(z|x)")
        figures["posterior"] = ax.figure
        figures["manifold"] = manifold_figure(vae)
    folder.mkdir(exist_ok=True)
    return [plots.save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def shown(epochs):
    """The epochs that the grid shows: all of them, or twenty of a long run."""
    return np.unique(np.linspace(1, epochs, 20).round().astype(int))


def epochs_figure(grid, epochs, conditional):
    """The article's figure: one row per epoch shown, one column per digit or sample."""
    rows = np.stack(list(grid.values()))
    ax = plots.digits_ax(*rows.shape[:2])
    plots.digit_grid(rows, ax, list(grid), range(rows.shape[1]))
    when = "each epoch" if len(grid) == epochs else f"{len(grid)} of {epochs} epochs"
    ax.set_title(f"After {when}: " + ("a new random style" if conditional else "ten new samples"))
    ax.set(xlabel="digit asked for" if conditional else "sample", ylabel="epoch")
    return ax.figure


def reconstructions_figure(images, stages):
    ax = plots.digits_ax((len(stages) + 1) * math.ceil(len(images) / 10), 10)
    plots.reconstructions(images, stages, ax).set_title("Test images, encoded and decoded")
    return ax.figure


def manifold_figure(vae):
    """The plane of codes; for a model with classes, one plane per class."""
    K = vae.config.num_classes
    if not K:
        ax = plots.manifold(vae, plots.digits_ax(17, 17))
        ax.set_title("The plane of codes, decoded at the quantiles of N(0, I)")
        return ax.figure
    rows = math.ceil(K / 5)
    figure = Figure(figsize=(15, 3.2 * rows), layout="constrained")
    for digit in range(K):
        ax = figure.add_subplot(rows, 5, digit + 1)
        plots.manifold(vae, ax, digit, n=9).set_title(f"asked for {digit}")
    figure.suptitle("The plane of codes, decoded at the quantiles of N(0, I), for each digit")
    return figure


def panels(*draw):
    """A figure of axes side by side, one for each function `draw(ax)`."""
    n = len(draw)
    figure = Figure(figsize=(5.2 * n, 3.8), layout=ConstrainedLayoutEngine(wspace=0.06))
    for i, into in enumerate(draw, 1):
        into(figure.add_subplot(1, n, i))
    return figure


def first_of_each(labels):
    """The row number of the first image of each digit."""
    return np.unique(labels, return_index=True)[1]
