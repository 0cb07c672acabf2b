"""Factors and latents: which latent number found slant, width and thickness, and what entangles.

    python examples/17_factors_and_latents.py

Strokes are written by a hand whose factors are known. A VAE sees only the images, here eights, and
its latent numbers have to find the factors for themselves. The table tells what they found: the
correlation r of each with each factor, over test images. Together they know most of all but the
wobble and the rotation, which a slant hides (R², of a linear regression). But nothing makes them
take one factor each, for N(0, I) looks the same from every side. Slant and thickness have a number
that is mostly theirs; width shares one with height, and another seed divides them otherwise.

The second hand has one more factor: who writes fast slants and thins at once. Now the number that
found slant is the one that found thickness, and says little of either alone, for in these
data they are nearly one. Moved along it, an eight goes from upright and thick to slanted and thin.

20 seconds, with MINIVAE_FAST=1 three. Always on strokes, for of MNIST nobody knows the factors.
"""

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, save

from minivae import VAE, VAEConfig, fit, plots
from minivae.datasets import strokes

SEED = 0
LATENT = 10
SHOWN = ("slant", "thickness", "width")
SCHEDULE = {"epochs": 40, "lr": 3e-3, "batch_size": 50} if QUICK else {"epochs": 80}
# (expected, within) in full and quick: the mean over seeds and four of their standard deviations;
# three seeds in full, five quick. How a factor is divided is chance: there within is 0.4.
EXPECTED = {
    "slant: |r| of its latent": ((0.74, 0.06), (0.7, 0.4)),
    "slant: R² of all latents": ((0.786, 0.02), (0.749, 0.02)),
    "thickness: |r| of its latent": ((0.7, 0.4), (0.8, 0.2)),
    "thickness: R² of all latents": ((0.96, 0.03), (0.88, 0.2)),
    "width: |r| of its latent": ((0.7, 0.4), (0.7, 0.4)),
    "width: R² of all latents": ((0.943, 0.02), (0.917, 0.02)),
    "|r| of slant's latent with thickness": ((0.05, 0.08), (0.04, 0.21)),
    "fast: |r| of speed's latent with speed": ((0.79, 0.07), (0.76, 0.12)),
    "fast: |r| of speed's latent with slant": ((0.82, 0.07), (0.79, 0.12)),
    "fast: |r| of speed's latent with thickness": ((0.77, 0.07), (0.74, 0.11)),
}


def eights(n, seed, speed):
    images, labels, factors = strokes(n, seed, speed)
    return images[labels == 8], {name: values[labels == 8] for name, values in factors.items()}


def learn(speed):
    """A model of a hand -> it, test images, their factors, {factor: r with each latent and R²}."""
    images, _ = eights(10_000 if QUICK else 60_000, 0, speed)
    vae = VAE(VAEConfig(num_classes=0, latent_dim=LATENT), seed=SEED)
    fit(vae, (images, None), seed=SEED, **SCHEDULE)
    test, factors = eights(10_000, 1, speed)
    mu, _ = vae.encode(test)
    inputs = np.column_stack([mu, np.ones(len(mu))])
    table = {}
    for name, values in factors.items():
        r = [np.corrcoef(z_j, values)[0, 1] for z_j in mu.T]
        left = values - inputs @ np.linalg.lstsq(inputs, values, rcond=None)[0]
        table[name] = np.array([*r, 1 - left.var() / values.var()])
    return vae, test, factors, table


def finder(row):
    """The latent that tells most of a factor."""
    return int(np.argmax(abs(row[:-1])))


# %% The numbers.
vae, test, factors, table = learn(speed=False)
fast_vae, fast_test, fast_factors, fast_table = learn(speed=True)
found = {}
for name in SHOWN:
    found[f"{name}: |r| of its latent"] = max(abs(table[name][:-1]))
    found[f"{name}: R² of all latents"] = table[name][-1]
j, fast = finder(table["slant"]), finder(fast_table["speed"])
found["|r| of slant's latent with thickness"] = abs(table["thickness"][j])
for name in ("speed", "slant", "thickness"):
    found[f"fast: |r| of speed's latent with {name}"] = abs(fast_table[name][fast])
numbers = Numbers("strokes")
for what, value in found.items():
    numbers.hold(what, value, *EXPECTED[what][QUICK])


# %% The picture: both tables, and what the latents do to an image.
def heat(ax, table, title):
    values = np.stack(list(table.values()))
    ax.imshow(values, cmap="RdBu", vmin=-1.3, vmax=1.3, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        # + 0.0 makes a plain zero of −0.0
        ax.text(j, i, plots.decimal(round(value, 1) + 0.0), ha="center", va="center", fontsize=8)
    ax.set_xticks(range(LATENT + 1), [*(f"z[{j}]" for j in range(LATENT)), "R²"], fontsize=8)
    ax.set_yticks(range(len(table)), list(table))
    ax.axvline(LATENT - 0.5, color="black")
    ax.set_title(title)


figure = Figure(figsize=(13, 7), layout="constrained")
axes = figure.subplot_mosaic("AB;CD;CE", height_ratios=(3, 0.8, 1))
heat(axes["A"], table, "Correlation of each latent with each factor (R²: all together)")
heat(axes["B"], fast_table, "The same of a hand that slants and thins when it is fast")
finders = [finder(table[name]) for name in SHOWN]
plots.traversal(vae, test[0], finders, axes["C"])
names = [f"{name}: z[{j}]" for name, j in zip(SHOWN, finders)]
axes["C"].set_yticks(axes["C"].get_yticks(), names)
axes["C"].set_title("An eight, and the latents that found slant, thickness, width")
plots.traversal(fast_vae, fast_test[0], [fast], axes["D"])
axes["D"].set_yticks(axes["D"].get_yticks(), [f"speed: z[{fast}]"])
axes["D"].set_title("An eight, and the latent that found speed")
order = np.argsort(fast_factors["speed"])
plots.interpolation(fast_vae, fast_test[order[:1]], fast_test[order[-1:]], axes["E"])
axes["E"].set_title("From the slowest writer's eight to the fastest's")
save(figure, "17_factors_and_latents")
numbers.leave()
