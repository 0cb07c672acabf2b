"""A run folder: the pictures that training leaves in it, and the commands on it."""

import json
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from . import checkpoint, datasets, plots, training
from .errors import ConfigError, FileError
from .likelihood import estimate_log_p

STAGES = (1, 9)  # the epochs, beside the last, whose reconstructions are kept: those of Frans 2016
MOST_ROWS = 20  # of the grid of epochs


def save_figures(folder, vae, state, test):
    """Draw what there is to see after training -> paths.

    state: its history, and its pictures digits.EPOCH, ten of them, and test.EPOCH, the
    reconstructions of the first test image of each digit; test: images (n, D), labels (n,).
    """
    images, labels = test
    epochs = range(1, len(state.history) + 1)
    kept = state.pictures
    grid = {i: kept[f"digits.{i}"] / 255 for i in epochs if f"digits.{i}" in kept}
    last = epochs[-1]
    stages = {f"epoch {i}": kept[f"test.{i}"] / 255 for i in (*STAGES, last) if i <= last}
    figures = {
        "epochs": epochs_figure(grid, vae.classifier),
        "losses": losses_figure(state.history),
        "reconstructions": reconstructions_figure(images[first_of_each(labels)], stages),
        "latent": latent_figure(vae, images),
    }
    if vae.config.latent_dim == 2:
        figures["posterior"] = posterior_figure(vae, images[:1500], labels[:1500])
        figures["manifold"] = manifold_figure(vae)
    folder.mkdir(exist_ok=True)
    return [plots.save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def shown(epochs):
    """The epochs that the grid shows: all, or of a long run twenty."""
    return np.unique(np.linspace(1, epochs, MOST_ROWS).round().astype(int))


def epochs_figure(grid, conditional):
    """The article's: a row an epoch, a column a digit or sample."""
    ax = plots.digits_ax(len(grid), 10)
    plots.digit_grid(np.stack(list(grid.values())), ax, list(grid), range(10))
    ax.set_title("After each epoch: " + ("one random style" if conditional else "ten samples"))
    ax.set_xlabel("digit asked for" if conditional else "sample")
    ax.set_ylabel("epoch")
    return ax.figure


def losses_figure(history):
    terms = [term for term in plots.TITLES if history[0][f"train_{term}"] is not None]
    figure = Figure(figsize=(5 * len(terms), 3.6), layout="constrained")
    for ax, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms):
        plots.loss_curve(history, term, ax)
    return figure


def reconstructions_figure(images, stages):
    ax = plots.digits_ax((len(stages) + 1) * math.ceil(len(images) / 10), 10)
    plots.reconstructions(images, stages, ax)
    ax.set_title("Test images, each decoded from the mean of its code")
    return ax.figure


def latent_figure(vae, images):
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    kl, std = figure.subplots(1, 2)
    plots.kl_by_dimension(vae, images, kl)
    plots.posterior_std(vae, images, std)
    return figure


def posterior_figure(vae, images, labels):
    ax = plots.new_ax(7, 7)
    plots.posterior_means(vae, images, labels, ax)
    ax.set_title(f"Codes of {len(images):,} test images: the means of q(z|x), drawn as their digit")
    return ax.figure


def manifold_figure(vae):
    """The plane; of a model with classes, a plane for each."""
    K = vae.config.num_classes
    if not K:
        ax = plots.manifold(vae, plots.digits_ax(17, 17))
        ax.set_title("The plane of codes, decoded at equal steps of probability")
        return ax.figure
    figure = Figure(figsize=(15, 3.2 * math.ceil(K / 5)), layout="constrained")
    for digit, ax in enumerate(figure.subplots(math.ceil(K / 5), 5).flat):
        plots.manifold(vae, ax, digit, n=9).set_title(f"asked for {digit}")
    figure.suptitle("The plane of codes, decoded at equal steps of probability, for each digit")
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
    what = "" if digit is None else f" of the digit {digit}"
    ax.set_title(f"{options.n} samples{what}")
    save(ax.figure, options, "sample")


def reconstruct_command(options):
    vae, _, images, labels = opened(options)
    rows = [first(labels, digit, options.n) for digit in range(10)]
    x = images[np.stack(rows, axis=1).ravel()]
    save(reconstructions_figure(x, {"decoded": vae.reconstruct(x)}), options, "reconstruct")


def traverse_command(options):
    vae, _, images, labels = opened(options)
    [row] = first(labels, options.digit, 1)
    kl = plots.kl_of_dimensions(vae, images)
    dimensions = np.argsort(-kl)[: options.n]
    ax = plots.digits_ax(len(dimensions), len(plots.TRAVERSED))
    plots.traversal(vae, images[row], dimensions, ax)
    ax.set_yticks(ax.get_yticks(), [f"z[{j}]  {kl[j]:.2f}" for j in dimensions])
    ax.set_ylabel("latent dimension and its KL, nats")
    ax.set_title(f"A test image of a {options.digit}, one dimension of its code moved at a time")
    save(ax.figure, options, "traverse")


def interpolate_command(options):
    vae, _, images, labels = opened(options)
    x, x_to = (
        images[first(labels, digit, options.n)] for digit in (options.from_digit, options.to_digit)
    )
    ax = plots.digits_ax(2 * options.n, 11)
    plots.interpolation(vae, x, x_to, ax)
    ax.set_title(f"From {options.from_digit} to {options.to_digit}: codes mixed, or pixels")
    save(ax.figure, options, "interpolate")


def evaluate_command(options):
    vae, data, images, labels = opened(options)
    print(f"test set of {data}, {len(images):,} images; nats an image; ± one standard error")
    values = training.terms(vae, images, labels, options.seed)
    for name in values:
        standard_error = np.std(values[name], ddof=1) / math.sqrt(len(images))
        digits = 4 if name in ("ce", "accuracy") else 2
        print(f"{name:18} {np.mean(values[name]):10.{digits}f} ± {standard_error:.{digits}f}")
    if options.samples:
        x = images[: options.images]
        elbo = -np.mean(values["neg_elbo"][: options.images])
        print(f"ELBO of the first {len(x):,} images: {elbo:.2f} nats an image")
        for proposal in ("q", "prior"):
            print(estimate_log_p(vae, x, options.samples, proposal, options.seed), flush=True)
    save(evaluate_figure(values, labels), options, "evaluate")


def evaluate_figure(values, labels):
    panels = 2 if "accuracy" in values else 1
    figure = Figure(figsize=(5 * panels, 3.6), layout="constrained")
    bound, *errors = figure.subplots(1, panels, squeeze=False)[0]
    plots.by_digit(values["neg_elbo"], labels, bound)
    bound.set_title("−ELBO: quartiles, and the middle 90 %")
    bound.set_ylabel("nats an image")
    for ax in errors:
        digits = np.unique(labels)
        wrong = [100 * np.mean(1 - values["accuracy"][labels == digit]) for digit in digits]
        ax.bar(digits, wrong, color=plots.BLUE)
        ax.set_xticks(digits)
        ax.set_title("Read as another digit by the classifier")
        ax.set_xlabel("digit")
        ax.set_ylabel("% of its images")
    return figure


def opened(options):
    """The model of a run folder, the name of its data, and the test images and labels."""
    summary = Path(options.run) / "summary.json"
    try:
        data = json.loads(summary.read_text())["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{options.run} is no run folder of minivae train: no summary.json that names the data"
        ) from error
    vae = checkpoint.load(options.run)
    return vae, data, *datasets.load(data, "test", options.data_dir)


def first(labels, digit, n):
    """The row numbers of the first n images of a digit."""
    rows = np.flatnonzero(labels == digit)[:n]
    if len(rows) < n:
        raise ConfigError(f"--n {n}: the test set has {len(rows)} images of the digit {digit}")
    return rows


def save(figure, options, name):
    """Write the picture where --out says, or else among those of the run, and print where."""
    folder = Path(options.run, "figures")
    if not options.out:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FileError(f"{folder}: {error.strerror}; name a file with --out") from error
    print(plots.save(figure, options.out or folder / f"{name}.png"))
