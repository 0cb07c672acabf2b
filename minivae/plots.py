"""Pictures. A function that takes an `ax` of matplotlib draws into it and returns it."""

import io
import math
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure

from .checks import one_hot
from .distributions import gaussian_kl_forward
from .errors import DataError
from .files import write_atomically
from .gradcheck import check_direction

TITLES = {"loss_auto_encode": "Autoencoder: nll + KL", "ce": "Classifier: cross-entropy"}
# Colour-blind readers can tell these colours apart: two by Okabe and Ito, and ten by Tol.
BLUE, ORANGE = "#0072B2", "#D55E00"
TEN_COLOURS = (
    "#332288 #117733 #CC6677 #44AA99 #AA4499 #999933 #882255 #6699CC #000000 #EE7733".split()
)
TRAVERSED = tuple(i / 2 for i in range(-5, 6))  # values of a latent dimension, in σ of the prior


def digit_grid(images, ax, rows=(), columns=()):
    """images (R, C, side · side) in [0, 1] -> R rows of C digits with labels; NaN is left blank."""
    R, C, D = images.shape
    side = math.isqrt(D)
    if side * side != D:
        raise DataError(f"an image of {D} pixels is not a square")
    tiles = images.reshape(R, C, side, side).transpose(0, 2, 1, 3)
    ax.imshow(tiles.reshape(R * side, C * side), cmap="gray", vmin=0, vmax=1)
    ax.set_xticks(side * np.arange(len(columns)) + (side - 1) / 2, columns)
    ax.set_yticks(side * np.arange(len(rows)) + (side - 1) / 2, rows)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.xaxis.set_label_position("top")
    ax.spines[:].set_visible(False)
    return ax


def in_rows(images, columns):
    """images (n, D) -> (R, columns, D), the last row filled up with NaN."""
    blanks = np.full((-len(images) % columns, images.shape[1]), np.nan)
    return np.concatenate([images, blanks]).reshape(-1, columns, images.shape[1])


def decimal(value):
    return f"{value:.1f}".replace("-", "−")


def loss_curve(history, term, ax):
    """A term of the history in nats, "loss_auto_encode" or "ce", over the epochs."""
    epochs = [row["epoch"] for row in history]
    for split, style, colour, label in (
        ("train", "o--", ORANGE, "training (mean during the epoch)"),
        ("test", "s-", BLUE, "test"),
    ):
        if f"{split}_{term}" in history[0]:
            values = [row[f"{split}_{term}"] for row in history]
            ax.plot(epochs, values, style, color=colour, markersize=3, label=label)
    ax.set(title=TITLES[term], xlabel="epoch", ylabel="nats an image")
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.legend()
    return ax


def reconstructions(images, stages, ax, columns=10):
    """images (n, D) in rows of `columns`, under each row the same of every stage {label: (n, D)}.

    A stage is a model's reconstruction of the images, from z = mu.
    """
    stages = {"original": images, **stages}
    rows = np.stack([in_rows(stage, columns) for stage in stages.values()], axis=1)
    return digit_grid(rows.reshape(-1, *rows.shape[2:]), ax, list(stages) * len(rows))


def manifold(vae, ax, digit=0, n=17):
    """What a model with two latent dimensions decodes over its plane; with classes, of one digit.

    n · n codes z, rows and columns at the quantiles (i + ½) / n of N(0, 1): where codes are likely.
    """
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)])
    plane = np.meshgrid(quantiles, quantiles[::-1])
    z = np.stack(plane, axis=-1).reshape(-1, 2).astype(vae.dtype)
    K = vae.config.num_classes
    images = vae.decode(z, one_hot(np.full(n * n, digit), (n * n, K), vae.dtype) if K else None)
    shown = np.linspace(0, n - 1, 5).round()
    labels = [decimal(value) if i in shown else "" for i, value in enumerate(quantiles)]
    digit_grid(images.reshape(n, n, -1), ax, labels[::-1], labels)
    ax.set(xlabel="z[0]", ylabel="z[1]")
    return ax


def posterior_means(vae, images, labels, ax):
    """The mean of q(z|x) in the first two latent dimensions, each image drawn as its digit."""
    mu, _ = vae.encode(images)
    if mu.shape[1] < 2:
        raise DataError("a model with one latent dimension has no plane to draw")
    for digit in np.unique(labels):
        style = {"marker": f"${digit}$", "color": TEN_COLOURS[digit % 10]}
        ax.scatter(*mu[labels == digit, :2].T, s=30, linewidths=0.2, **style)
    ax.set(aspect="equal", xlabel="z[0]", ylabel="z[1]")
    return ax


def kl_of_dimensions(vae, images):
    """images (n, D) -> KL[q(z_j|x) ‖ p(z_j)] of each latent dimension j, mean of n, nats, (J,)."""
    columns = zip(*(np.hsplit(values, vae.config.latent_dim) for values in vae.encode(images)))
    return np.array([np.mean(gaussian_kl_forward(mu, var)) for mu, var in columns])


def kl_by_dimension(vae, images, ax):
    """The KL of each latent dimension over these images, nats: one bar per dimension."""
    kl = kl_of_dimensions(vae, images)
    ax.bar(range(len(kl)), kl, color=BLUE)
    title = f"KL of each latent dimension, together {kl.sum():.1f} nats"
    return _over_dimensions(ax, len(kl), title=title, ylabel="nats an image")


def posterior_std(vae, images, ax):
    """The histogram of σ of q(z_j|x) over these images, one column per dimension. Near 1: unused.

    2 stands for all above. The shade ends at 30 %, because used dimensions are spread out.
    """
    std = np.minimum(np.sqrt(vae.encode(images)[1]), 2)
    edges = 0.025 * (np.arange(82) - 0.5)  # 1 in the middle of a bin
    share = np.stack([np.histogram(column, edges)[0] for column in std.T], axis=1) / len(std)
    dimensions = np.arange(std.shape[1] + 1) - 0.5
    mesh = ax.pcolormesh(dimensions, edges, 100 * share, cmap="Greys", vmin=0, vmax=30)
    ax.figure.colorbar(mesh, ax=ax, label="% of the images", extend="max")
    ax.axhline(1, color=ORANGE, linestyle="--")
    ax.set_ylim(0, max(1.1, std.max()))
    title = "σ of q(z|x) in each latent dimension; dashed: the prior's"
    return _over_dimensions(ax, std.shape[1], title=title, ylabel="standard deviation σ")


def _over_dimensions(ax, J, **texts):
    ax.set(xlim=(-0.5, J - 0.5), xlabel="latent dimension", **texts)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1, nbins=20)
    return ax


def traversal(vae, x, dimensions, ax, values=TRAVERSED):
    """An image x (D,), decoded with one dimension of its code moved through values: one row each.

    The other dimensions stay at mu of x, and of a model with classes its probabilities.
    """
    mu, _ = vae.encode(x[None])
    z = np.tile(mu, (len(dimensions), len(values), 1))
    z[np.arange(len(dimensions)), :, dimensions] = values
    z = z.reshape(-1, mu.shape[1])
    probs = np.repeat(vae.classify(x[None]), len(z), axis=0) if vae.classifier else None
    images = vae.decode(z, probs).reshape(len(dimensions), len(values), -1)
    digit_grid(images, ax, [f"z[{j}]" for j in dimensions], list(map(decimal, values)))
    ax.set_xlabel("value of the one that moves")
    return ax


def interpolation(vae, x, x_to, ax, steps=11):
    """From images x to x_to, (n, D): a row decoded between their codes, under it the pixels mixed.

    Codes are mu and, of a model with classes, its probabilities, both on a straight line.
    """
    t = np.linspace(0, 1, steps, dtype=vae.dtype)[:, None]

    def between(a, b):
        return (a[:, None] + t * (b - a)[:, None]).reshape(-1, a.shape[1])

    z = between(vae.encode(x)[0], vae.encode(x_to)[0])
    probs = between(vae.classify(x), vae.classify(x_to)) if vae.classifier else None
    both = np.stack([vae.decode(z, probs), between(x, x_to)]).reshape(2, len(x), steps, -1)
    rows = both.swapaxes(0, 1).reshape(2 * len(x), steps, -1)
    digit_grid(rows, ax, ["codes", "pixels"] * len(x), [f"{100 * part:.0f}" for part in t[:, 0]])
    ax.set_xlabel("% of the second image")
    return ax


def by_digit(values, labels, ax):
    """One box per digit: the quartiles of values (n,) and the middle 90 % of them."""
    groups = {digit: values[labels == digit] for digit in np.unique(labels)}
    style = {"showfliers": False, "medianprops": {"color": BLUE, "linewidth": 2}}
    ax.boxplot(list(groups.values()), positions=list(groups), whis=(5, 95), **style)
    ax.set_xlabel("digit")
    return ax


def error_rates(accuracy, labels, ax):
    """One bar per digit: the share of images, accuracy (n,) 1 or 0, that are read as another."""
    digits = np.unique(labels)
    ax.bar(digits, [100 * np.mean(1 - accuracy[labels == digit]) for digit in digits], color=BLUE)
    title = "Read as another digit by the classifier"
    ax.set(title=title, xticks=digits, xlabel="digit", ylabel="% of its images")
    return ax


def step_sizes(loss, theta, dtheta, ax, seed=0):
    """The error of the derivative along one random direction, by step size.

    loss, theta, dtheta and the direction are as in gradcheck.check_direction. The curve of central
    differences is a V: on the right is the error by curvature, on the left the rounding error of
    the subtraction. The complex step has only the first. A float32 gradient lifts both curves to
    its own rounding error. An error of 0 is drawn at 1e-17.
    """
    scale = np.linalg.norm(dtheta.astype(np.float64)) / math.sqrt(len(theta))
    steps = np.logspace(-30, 1, 63)
    for method, label, style, colour, least in (
        ("central", "central differences", "s-", ORANGE, 1e-14),
        ("complex", "complex step", "o--", BLUE, 0),
    ):
        drawn = steps[steps >= least]
        how = {"method": method, "seed": seed}
        [rows] = zip(*(check_direction(loss, theta, dtheta, step=h, **how).rows for h in drawn))
        errors = [max(abs(row.analytic - row.numeric) / scale, 1e-17) for row in rows]
        ax.loglog(drawn, errors, style, color=colour, label=label)
    ax.text(1e-15, 1e-3, "rounding: the difference\nloses its digits", ha="right")
    ax.text(10, 2e-16, "curvature\n(and kinks)", ha="right")
    ax.set(title="Error of a numeric derivative, by step size", ylim=(1e-18, 1e6))
    ax.set_xlabel("step size h: how far all parameters move together")
    ax.set_ylabel("error, relative to ‖gradient‖ / √P")
    ax.legend(loc="upper center", ncol=2)
    return ax


def save(figure, path):
    """Write a PNG file, whole or not at all -> path."""
    png = io.BytesIO()
    figure.savefig(png, dpi=140, bbox_inches="tight")
    write_atomically(path, png.getvalue())
    return path


def new_ax(width, height):
    """An ax that fills a figure of its own; inches."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def digits_ax(rows, columns):
    """An ax for a grid of so many digits, each about 0.4 inches."""
    return new_ax(0.4 * columns + 1, 0.4 * rows + 1)
