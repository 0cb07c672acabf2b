"""A run folder: the pictures that training leaves in it, and the commands on it."""

import math
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from . import backend, checkpoint, datasets, plots, record, training
from .errors import ConfigError, FileError
from .likelihood import estimate_log_p

STAGES = (1, 9)  # the epochs, beside the last, whose reconstructions are kept: those of Frans 2016
MOST_ROWS = 20  # of the grid of epochs
UNITS = {"sse": "squared grey levels an image", "accuracy": ""}  # where they are no nats


def save_figures(folder, vae, state, test):
    """Draw what there is to see after training -> paths.

    state: its history, and its pictures digits.EPOCH, ten of them, and test.EPOCH, the
    reconstructions of the first test image of each digit; test: images (n, D), labels (n,).
    """
    images, labels = test
    kept, last = state.pictures, len(state.history)
    grid = {i: kept[f"digits.{i}"] / 255 for i in shown(last) if f"digits.{i}" in kept}
    stages = {f"epoch {i}": kept[f"test.{i}"] / 255 for i in (*STAGES, last) if f"test.{i}" in kept}
    terms = [term for term in plots.TITLES if state.history[0][f"train_{term}"] is not None]
    figures = {
        "epochs": epochs_figure(grid, last, vae.config.num_classes > 0),
        "losses": panels(*(partial(plots.loss_curve, state.history, term) for term in terms)),
        "reconstructions": reconstructions_figure(images[first_of_each(labels)], stages),
        "latent": panels(
            partial(plots.kl_by_dimension, vae, images), partial(plots.posterior_std, vae, images)
        ),
    }
    if vae.config.latent_dim == 2:
        figures["posterior"] = posterior_figure(vae, images[:1500], labels[:1500])
        figures["manifold"] = manifold_figure(vae)
    checkpoint.make_folder(folder)
    return [plots.save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def shown(epochs):
    """The epochs that the grid shows: all, or of a long run twenty."""
    return np.unique(np.linspace(1, epochs, MOST_ROWS).round().astype(int))


def epochs_figure(grid, epochs, conditional):
    """The article's: a row an epoch, of a long run some of them; a column a digit or sample."""
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


def posterior_figure(vae, images, labels):
    ax = plots.posterior_means(vae, images, labels, plots.new_ax(7, 7))
    ax.set_title(f"Codes of {len(images):,} test images: the means of q(z|x)")
    return ax.figure


def manifold_figure(vae):
    """The plane; of a model with classes, a plane for each."""
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
    """A figure of axes side by side, one for each function that draws into it."""
    n = len(draw)
    figure = Figure(figsize=(5.2 * n, 3.8), layout=ConstrainedLayoutEngine(wspace=0.06))
    for i, into in enumerate(draw, 1):
        into(figure.add_subplot(1, n, i))
    return figure


def first_of_each(labels):
    return np.unique(labels, return_index=True)[1]


def sample_command(options):
    vae = checkpoint.load(options.run)
    K, digit = vae.config.num_classes, options.digit
    if digit is not None and not K:
        raise ConfigError(f"--digit {digit}: this model was trained without digits; leave it out")
    by_class = K and digit is None
    images = vae.sample(options.n, digit, options.seed)
    rows = plots.in_rows(images, K if by_class else math.ceil(math.sqrt(options.n)))
    ax = plots.digits_ax(*rows.shape[:2])
    plots.digit_grid(rows, ax, columns=range(K) if by_class else ())
    ax.set_title("Samples" if digit is None else f"Samples of the digit {digit}")
    ax.set_xlabel("digit asked for" if by_class else "")
    save(ax.figure, options, "sample")


def reconstruct_command(options):
    vae, _, _, images, labels = opened(options)
    rows = [first(labels, digit, options.n) for digit in range(10)]
    x = images[np.stack(rows, axis=1).ravel()]
    save(reconstructions_figure(x, {"decoded": vae.reconstruct(x)}), options, "reconstruct")


def traverse_command(options):
    vae, _, _, images, labels = opened(options)
    [row] = first(labels, options.digit, 1)
    kl = plots.kl_of_dimensions(vae, images)
    dimensions = np.argsort(-kl)[: options.n]
    ax = plots.digits_ax(len(dimensions), len(plots.TRAVERSED))
    plots.traversal(vae, images[row], dimensions, ax)
    ax.set_yticks(ax.get_yticks(), [f"z[{j}], KL {kl[j]:.2f} nats" for j in dimensions])
    ax.set_title(f"A test image of a {options.digit}, one latent dimension moved")
    save(ax.figure, options, "traverse")


def interpolate_command(options):
    vae, _, _, images, labels = opened(options)
    x = images[first(labels, options.from_digit, options.n)]
    same = options.from_digit == options.to_digit  # then the second images are the next ones
    x_to = images[first(labels, options.to_digit, (1 + same) * options.n)][-options.n :]
    ax = plots.digits_ax(2 * options.n, 11)
    plots.interpolation(vae, x, x_to, ax)
    ax.set_title(f"From {options.from_digit} to {options.to_digit}: codes mixed, or pixels")
    save(ax.figure, options, "interpolate")


def evaluate_command(options):
    vae, data, seed, images, labels = opened(options, backend.choose(options.device))
    seed = seed if options.seed is None else options.seed
    values = training.terms(vae, images, labels, seed)
    print(f"test set of {data}, {len(images):,} images; ± one standard error")
    for name in values:
        standard_error = np.std(values[name], ddof=1) / math.sqrt(len(images))
        digits = 4 if name in ("ce", "accuracy") else 2
        mean = f"{np.mean(values[name]):10.{digits}f} ± {standard_error:.{digits}f}"
        print(f"{name:18} {mean} {UNITS.get(name, 'nats an image')}".rstrip())
    if options.samples:
        x = images[: options.images]
        elbo = -np.mean(values["neg_elbo"][: options.images])
        print(f"ELBO of the first {len(x):,} images: {elbo:.2f} nats an image")
        for proposal in ("q", "prior"):
            print(estimate_log_p(vae, x, options.samples, proposal, seed), flush=True)
    save(evaluate_figure(values, labels), options, "evaluate")


def evaluate_figure(values, labels):
    draw = [partial(plots.by_digit, values["neg_elbo"], labels)]
    if "accuracy" in values:
        draw.append(partial(plots.error_rates, values["accuracy"], labels))
    figure = panels(*draw)
    title = "−ELBO: median, quartiles, and the middle 90 %"
    figure.axes[0].set(title=title, ylabel="nats an image")
    return figure


def opened(options, device="cpu"):
    """Of a run folder: the model, the name of its data, its seed, test images and labels."""
    vae, state = record.load(options.run, device)
    data, seed = state.options["data"], state.options["seed"]
    images, labels = datasets.load(data, "test", options.data_dir)
    return vae, data, seed, images, labels


def first(labels, digit, n):
    """The row numbers of the first n images of a digit."""
    rows = np.flatnonzero(labels == digit)[:n]
    if len(rows) < n:
        raise ConfigError(f"--n {n}: the test set has {len(rows)} images of the digit {digit}")
    return rows


def save(figure, options, name):
    """Write the picture where --out says, or else among those of the run, and print where."""
    if options.out:
        print(plots.save(figure, options.out))
        return
    folder = Path(options.run, "figures")
    try:
        checkpoint.make_folder(folder)
        print(plots.save(figure, folder / f"{name}.png"))
    except FileError as error:
        raise FileError(f"{error}; --out can name another file") from error
