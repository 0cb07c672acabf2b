"""How much a noisy number can say.

A code that is a real number could hold a library: 5.43 means an apple, 5.44 a banana, and there is
no end to the digits. Noise ends them. Whoever reads x = 5.43 through noise of σ = 1 cannot tell it
from 5.44, and the number of different things that can be told is finite: about 2 to the power of
the mutual information of x and what is read. So a code that has to be short is a code with noise.
Everything here is computed twice, by formula and by simulation.

    python examples/06_bits_of_a_noisy_number.py        3 s; writes 06_bits_of_a_noisy_number.png
"""

import math
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure
from story import QUICK, Numbers, save

from minivae.plots import BLUE, ORANGE

WIDTH = 10  # x is uniform on [0, 10]
APPLE, BANANA = 5.43, 5.44
N = 200_000 if QUICK else 1_000_000
ROUNDS = 5 if QUICK else 100  # of N readings: errors at σ = 0.001 are rare

numbers, rng = Numbers(), np.random.default_rng(0)
erfc = np.vectorize(math.erfc)


def normal_cdf(t):
    return erfc(-t / math.sqrt(2)) / 2


# %% Bits: I(x; y) = h(y) − h(y|x), where y = x + σ ε and h(y|x) = ½ log2(2π e σ²)
def density(y, std):
    """p(y) = ∫ p(y|x) p(x) dx."""
    return (normal_cdf(y / std) - normal_cdf((y - WIDTH) / std)) / WIDTH


def bits(std):
    """The mutual information of x and y, by quadrature."""
    edge = min(9 * std, WIDTH / 2)  # p(y) rises within 9 σ of 0, is flat from there, and symmetric
    entropy, (node, weight) = 0.0, np.polynomial.legendre.leggauss(200)
    for low, high in ((-9 * std, edge), (edge, WIDTH / 2)):
        p = density((low + high) / 2 + (high - low) / 2 * node, std)
        entropy -= 2 * (high - low) / 2 * np.sum(weight * p * np.log2(p + 1e-300))
    return entropy - 0.5 * math.log2(2 * math.pi * math.e * std**2)


def simulated_bits(std, n):
    """The mean of log2 p(y|x) / p(y) over n pairs, and its standard error."""
    eps = rng.standard_normal(n)
    y = rng.uniform(0, WIDTH, n) + std * eps
    log_p = -0.5 * eps**2 - 0.5 * math.log(2 * math.pi * std**2)
    values = log_p / math.log(2) - np.log2(density(y, std))
    return np.mean(values), np.std(values) / math.sqrt(n)


# What is expected is given to two or three digits, and holds to half a unit of the last.
EXPECTED = {1: 1.535, 0.5: 2.41, 0.1: 4.62, 0.01: 7.92, 0.001: 11.24}
for std, expected in EXPECTED.items():
    within = 5e-4 if std == 1 else 5e-3
    numbers.hold(f"bits of x through σ = {std}", bits(std), expected, within)
    found, error = simulated_bits(std, N)
    numbers.hold("    by simulation", found, bits(std), 5 * error)


# %% Apple or banana? The best rule cuts in the middle, and errs where the noise passes it
def error_rate(std):
    return NormalDist().cdf(-(BANANA - APPLE) / (2 * std))


def simulated_error_rate(std):
    wrong = 0
    for _ in range(ROUNDS):
        banana = rng.random(N) < 0.5
        y = np.where(banana, BANANA, APPLE) + std * rng.standard_normal(N)
        wrong += np.sum((y > (APPLE + BANANA) / 2) != banana)
    return wrong / (ROUNDS * N)


for std, expected, half_unit in ((1, 0.498, 5e-5), (0.01, 0.309, 5e-4), (0.001, 2.9e-7, 5e-9)):
    rate = error_rate(std)
    numbers.hold(f"apple or banana, wrong at σ = {std}", rate, expected, half_unit)
    error = math.sqrt(rate * (1 - rate) / (ROUNDS * N))
    numbers.hold("    by simulation", simulated_error_rate(std), rate, 5 * error)

# %% "5.4 means 4.4 to 6.4": that is one σ
within = NormalDist().cdf(1) - NormalDist().cdf(-1)
numbers.hold("within one σ", within, 0.683, 5e-4)
found = np.mean(abs(rng.standard_normal(N)) <= 1)
numbers.hold("    by simulation", found, within, 5 * math.sqrt(within * (1 - within) / N))

# %% The picture
figure = Figure(figsize=(13, 4.4), layout="constrained")
*fruit, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
for ax, std in zip(fruit, (0.01, 0.001)):
    y = np.linspace(5.39, 5.48, 2000)
    for name, x, colour, style in (("apple", APPLE, BLUE, "-"), ("banana", BANANA, ORANGE, "--")):
        p = NormalDist(x, std)
        ax.plot(y, [p.pdf(t) for t in y], style, color=colour, label=f"{name}, x = {x}")
    ax.axvline((APPLE + BANANA) / 2, color="grey", linestyle=":")
    ax.set_title(f"apple or banana, σ = {std}:\na share of {error_rate(std):.2g} is read wrong")
    ax.set_xlabel("number that is read, y = x + σ ε")
    ax.set_yticks([])
    ax.set_ylim(0, 1.5 * NormalDist(0, std).pdf(0))
    ax.legend(loc="upper center")
fruit[0].set_ylabel("density of what is read, to the same height")
std = np.logspace(-3, 1, 60)
right.semilogx(std, [bits(s) for s in std], color=BLUE)
for s in EXPECTED:
    right.plot(s, bits(s), "o", color=ORANGE)
    right.text(1.2 * s, bits(s) + 0.2, f"{bits(s):.2f} bits: {2 ** bits(s):,.0f} things")
right.set_xlim(6e-4, 30)
right.set_ylim(0, 13)
right.set_title("what a number from 0 to 10\ncan say through noise")
right.set_xlabel("noise σ")
right.set_ylabel("mutual information, bits")
save(figure, "06_bits_of_a_noisy_number")
numbers.leave()
