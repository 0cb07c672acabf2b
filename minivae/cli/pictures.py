"""The commands on a saved run: sample, reconstruct, traverse, interpolate, evaluate."""

import math
from functools import partial
from pathlib import Path

import numpy as np

from .. import datasets, plots, training
from ..devices.find import choose
from ..errors import ConfigError, FileError
from ..evidence.likelihood import estimate_log_p
from ..runs import folder
from ..runs.checkpoint import load
from ..runs.figures import panels, reconstructions_figure

UNITS = {"sse": "squared grey levels an image", "accuracy": ""}  # of the terms not in nats


def sample_command(options):
    vae = load(options.run)
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
    save(ax.figure, options)


def reconstruct_command(options):
    vae, _, images, labels = opened(options)
    rows = [first(labels, digit, options.n) for digit in range(10)]
    x = images[np.stack(rows, axis=1).ravel()]
    save(reconstructions_figure(x, {"decoded": vae.reconstruct(x)}), options)


def traverse_command(options):
    vae, _, images, labels = opened(options)
    [row] = first(labels, options.digit, 1)
    kl = plots.kl_of_dimensions(vae, images)
    dimensions = np.argsort(-kl)[: options.n]
    ax = plots.digits_ax(len(dimensions), len(plots.TRAVERSED))
    plots.traversal(vae, images[row], dimensions, ax)
    ax.set_yticks(ax.get_yticks(), [f"z[{j}], KL {kl[j]:.2f} nats" for j in dimensions])
    ax.set_title(f"A test image of a {options.digit}, one latent dimension moved")
    save(ax.figure, options)


def interpolate_command(options):
    vae, _, images, labels = opened(options)
    x = images[first(labels, options.from_digit, options.n)]
    same = options.from_digit == options.to_digit  # then the second images are the next ones
    x_to = images[first(labels, options.to_digit, (1 + same) * options.n)][-options.n :]
    ax = plots.digits_ax(2 * options.n, 11)
    plots.interpolation(vae, x, x_to, ax)
    ax.set_title(f"From {options.from_digit} to {options.to_digit}: codes mixed, or pixels")
    save(ax.figure, options)


def evaluate_command(options):
    vae, run, images, labels = opened(options, choose(options.device))
    seed = run.seed if options.seed is None else options.seed
    values = training.terms(vae, images, labels, seed)
    print(f"test set of {run.data}, {len(images):,} images; ± one standard error")
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
    draw = [partial(plots.by_digit, values["neg_elbo"], labels)]
    if "accuracy" in values:
        draw.append(partial(plots.error_rates, values["accuracy"], labels))
    figure = panels(*draw)
    title = "−ELBO: median, quartiles, and the middle 90 %"
    figure.axes[0].set(title=title, ylabel="nats an image")
    save(figure, options)


def opened(options, device="cpu"):
    """From a run folder: the model, the run's options, test images and labels."""
    vae, _, record = folder.load(options.run, device)
    images, labels = datasets.load(record.options.data, "test", options.data_dir)
    return vae, record.options, images, labels


def first(labels, digit, n):
    """The row numbers of the first n images of a digit."""
    return np.flatnonzero(labels == digit)[:n]


def save(figure, options):
    """Write the picture to --out, or else among those of the run, and print its path."""
    path = Path(options.out or Path(options.run, "figures", f"{options.command}.png"))
    try:
        if not options.out:
            path.parent.mkdir(exist_ok=True)
        plots.save(figure, path)
    except OSError as error:
        raise FileError(f"{error}; --out can name another file") from error
    print(path)
