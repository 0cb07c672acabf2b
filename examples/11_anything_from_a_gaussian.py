"""Anything from a Gaussian, if the function is complicated enough.

The prior of a VAE is N(0, I), and digits are not. That is no contradiction: a function of a
Gaussian number can have any distribution. In one dimension the function is known: Φ(z) is uniform
where Φ is the Gaussian's own cumulative distribution, and the inverse of any other one bends that
into its own. In two, z/10 + z/‖z‖ turns a cloud into a ring. The decoder of a VAE learns such a
function. The distance is Kolmogorov and Smirnov's: the largest gap between the cumulative share of
the samples and the one that is wanted.

    python examples/11_anything_from_a_gaussian.py     2 s; writes 11_anything_from_a_gaussian.png
"""

import math
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, save

from minivae.plots import BLUE, ORANGE

N = 100_000 if QUICK else 1_000_000
numbers = Numbers()
rng = np.random.default_rng(0)
normal_cdf = np.vectorize(NormalDist().cdf)
# Of N true samples the distance is above 1.95 / √N once in a thousand times (Kolmogorov 1933).
CLOSE = 1.95 / math.sqrt(N)


def distance(samples, cdf):
    """The largest gap between the cumulative share of the samples and cdf."""
    expected = cdf(np.sort(samples))
    steps = np.arange(len(samples) + 1) / len(samples)
    return max(np.max(steps[1:] - expected), np.max(expected - steps[:-1]))


# %% A ring: the direction of z is kept, its length squeezed to 1 + ‖z‖ / 10
z = rng.standard_normal((N, 2))
length = np.sqrt(np.sum(z * z, axis=1, keepdims=True))
ring = z / 10 + z / length
radius = np.sqrt(np.sum(ring * ring, axis=1))


def radius_cdf(r):
    """‖z‖ has the density t exp(−t²/2), t = 10 (r − 1)."""
    return 1 - np.exp(-0.5 * (10 * (r - 1)) ** 2)


mean, std = 1 + math.sqrt(math.pi / 2) / 10, math.sqrt(2 - math.pi / 2) / 10
numbers.hold("ring: mean radius", np.mean(radius), mean, 5 * std / math.sqrt(N))
# The variance of a sample variance: (kurtosis − 1) / N, here 2.245 / N, halved for the root.
numbers.hold("ring: spread of the radius", np.std(radius), std, 5 * 0.75 * std / math.sqrt(N))
numbers.hold("ring: distance to its distribution", distance(radius, radius_cdf), 0, CLOSE)
share = 1 - math.exp(-1 / 8)
error = math.sqrt(share * (1 - share) / N)
numbers.hold("share of the cloud within 0.5", np.mean(length < 0.5), share, 5 * error)
numbers.hold("share of the ring within 0.5", np.mean(radius < 0.5), 0, 0)


# %% An inverse: x = F⁻¹(Φ(z)), where F has two humps, one twice as heavy as the other
def humps_cdf(x):
    left, right = NormalDist(-2, 0.5), NormalDist(1.5, 0.8)
    return [(left.cdf(t) + 2 * right.cdf(t)) / 3 for t in x]


grid = np.linspace(-6, 8, 4001)
table = np.array(humps_cdf(grid))
z = rng.standard_normal(N)
x = np.interp(normal_cdf(z), table, grid)
gap = distance(x, lambda t: np.interp(t, grid, table))
numbers.hold("two humps: distance to their distribution", gap, 0, CLOSE)
numbers.hold("two humps: mean", np.mean(x), (-2 + 2 * 1.5) / 3, 5 * 1.8 / math.sqrt(N))
gap = distance(z, lambda t: np.interp(t, grid, table))
exact = np.max(abs(normal_cdf(grid) - table))  # what no number of samples mends
numbers.hold("the Gaussian itself: its distance", gap, exact, CLOSE)

# %% The picture
figure = Figure(figsize=(12.5, 4.2), layout="constrained")
cloud, ax, humps = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
few = 2000
z = rng.standard_normal((few, 2))
angle = np.arctan2(z[:, 1], z[:, 0])
ring = z / 10 + z / np.sqrt(np.sum(z * z, axis=1, keepdims=True))
for axis, points, title in ((cloud, z, "z ~ N(0, I)"), (ax, ring, "the same points: z/10 + z/‖z‖")):
    # A point keeps its colour, which tells its direction.
    axis.scatter(*points.T, s=4, c=angle, cmap="twilight_shifted")
    axis.set_aspect("equal")
    axis.set_title(title)
    axis.set_xlabel("first number")
    axis.set_ylabel("second number")
bins = np.linspace(-4.5, 4.5, 91)
z = rng.standard_normal(N)
humps.hist(z, bins, density=True, color=BLUE, alpha=0.35, label="z ~ N(0, 1)")
humps.hist(np.interp(normal_cdf(z), table, grid), bins, density=True, histtype="step", linewidth=2,
           color=ORANGE, label="the same, bent: F⁻¹(Φ(z))")
middle = (grid[1:] + grid[:-1]) / 2
humps.plot(middle, np.diff(table) / np.diff(grid), "k--", linewidth=1, label="wanted: F′")
humps.set_xlim(-4.5, 4.5)
humps.set_ylim(0, 0.55)
humps.set_title("An inverse cumulative distribution")
humps.set_xlabel("value")
humps.set_ylabel("density")
humps.legend(loc="upper center", fontsize="small")
save(figure, "11_anything_from_a_gaussian")
numbers.leave()
