"""Strokes: a generated data set of handwritten digits, with the factors behind each image."""

import math

import numpy as np

from ..checks import integer


def strokes(n, seed=0, speed=False):
    """n digits written by a hand that varies -> images (n, 784), labels (n,), factors.

    Images are float32 in [0, 1] in steps of 1/255, white on black, 28 × 28 rows of pixels, digits
    in equal numbers. factors is {name: (n,) float32}, all drawn from the seed, independently:
    slant (tangent of the lean to the right), width and height (1 is the template's), rotation
    (radians, clockwise), thickness (pixels), wobble (pixels of a smooth bending), offset_x and
    offset_y (pixels, right and down). speed=True adds one, speed (standard deviations), that drives
    two: who writes fast slants and thins at once. slant and thickness keep their means and spreads
    and correlate at −0.9; all else is as without it.
    """
    n, seed = integer("n", n, 1), integer("seed", seed, 0)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 10)

    def normal(mean, std):
        return np.clip(rng.normal(mean, std, n), mean - 2 * std, mean + 2 * std).astype("f4")

    spreads = {
        "slant": (0.12, 0.16), "width": (1, 0.13), "height": (1, 0.08), "rotation": (0, 0.08),
        "thickness": (2.7, 0.5), "wobble": (0.5, 0.2), "offset_x": (0, 0.7), "offset_y": (0, 0.7),
    }  # fmt: skip
    factors = {name: normal(*spread) for name, spread in spreads.items()}
    phases = rng.uniform(0, 2 * math.pi, (n, 2)).astype("f4")
    if speed:  # drawn last, so that nothing else changes
        factors["speed"] = normal(0, 1)
        for name, sign in (("slant", 1), ("thickness", -1)):
            mean, std = spreads[name]
            own = math.sqrt(0.1) * (factors[name] - mean)
            factors[name] = mean + sign * math.sqrt(0.9) * std * factors["speed"] + own
    images = np.empty((n, 784), np.float32)
    for start in range(0, n, 500):
        rows = slice(start, start + 500)
        hand = {name: values[rows, None] for name, values in factors.items()}
        images[rows] = _write(labels[rows], hand, phases[rows])
    return images, labels, factors


def _write(labels, hand, phases):
    """Bend and move the templates' points, then put ink along them -> (n, 784)."""
    x, y = (TEMPLATES[labels] * 9).transpose(2, 0, 1)  # (n, T), pixels from the centre
    y = y * hand["height"]
    x = x * hand["width"] - y * hand["slant"]
    bend = 2 * math.pi / 18
    x, y = (
        x + hand["wobble"] * np.sin(bend * y + phases[:, :1]),
        y + hand["wobble"] * np.sin(bend * x + phases[:, 1:]),
    )
    cos, sin = np.cos(hand["rotation"]), np.sin(hand["rotation"])
    x, y = cos * x - sin * y + hand["offset_x"], sin * x + cos * y + hand["offset_y"]

    # The points stand in pairs, the ends of short pieces. A Gaussian dab on the middle of each,
    # weighted by its length, adds up to a line whose height is 1 along its middle. A dab is a
    # product of its row and its column, and the sum of dabs is one matrix product an image.
    length = np.hypot(x[:, 1::2] - x[:, ::2], y[:, 1::2] - y[:, ::2])
    x, y = (x[:, 1::2] + x[:, ::2]) / 2, (y[:, 1::2] + y[:, ::2]) / 2
    std = hand["thickness"] / 3.75  # then the ink below is a half at half the thickness
    pixel = np.arange(28, dtype=np.float32) - np.float32(13.5)
    across = np.exp(-0.5 * ((pixel - x[:, :, None]) / std[:, :, None]) ** 2)
    down = np.exp(-0.5 * ((pixel - y[:, :, None]) / std[:, :, None]) ** 2)
    weight = length / (std * math.sqrt(2 * math.pi))
    height = (down * weight[:, :, None]).transpose(0, 2, 1) @ across
    ink = 1 - np.exp(-4 * height)
    return np.rint(ink * 255).reshape(-1, 784) / np.float32(255)


def _template(*lines, pieces=64):
    """Polylines in the box [−1, 1]², y down, cut into pieces of equal length -> (2 · pieces, 2)."""
    curves = [np.array(line, float) for line in lines]
    lengths = [np.hypot(*np.diff(curve, axis=0).T) for curve in curves]
    total = sum(length.sum() for length in lengths)
    counts = [round(pieces * length.sum() / total) for length in lengths]
    counts[-1] = pieces - sum(counts[:-1])
    ends = []
    for curve, length, count in zip(curves, lengths, counts):
        along = np.concatenate([[0], np.cumsum(length)])
        stops = np.linspace(0, along[-1], count + 1)
        points = np.stack([np.interp(stops, along, axis) for axis in curve.T], axis=1)
        ends.append(np.repeat(points, 2, axis=0)[1:-1])
    return np.concatenate(ends).astype(np.float32)


def _arc(x, y, rx, ry, start, stop):
    """Points of an ellipse; degrees, 0 to the right, 90 down."""
    angle = np.radians(np.linspace(start, stop, 60))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1).tolist()


TEMPLATES = np.stack([
    _template(_arc(0, 0, 0.6, 1, -90, 270)),
    _template([(-0.3, -0.6), (0.05, -1), (0.05, 1)]),
    _template([*_arc(0, -0.45, 0.55, 0.55, -170, 35), (-0.6, 1), (0.65, 1)]),
    _template([*_arc(-0.05, -0.5, 0.5, 0.5, -150, 90), *_arc(-0.05, 0.5, 0.6, 0.5, -90, 150)]),
    _template([(0.1, -1), (-0.6, 0.3), (0.65, 0.3)], [(0.25, -0.3), (0.25, 1)]),
    _template([(0.55, -1), (-0.4, -1), *_arc(-0.02, 0.38, 0.6, 0.62, -140, 145)]),
    _template([*_arc(0.5, 0.4, 1.05, 1.4, -95, -180), *_arc(0, 0.44, 0.55, 0.56, 180, -180)]),
    _template([(-0.55, -1), (0.6, -1), (-0.2, 1)]),
    _template(_arc(0, -0.52, 0.46, 0.48, 90, 450), _arc(0, 0.48, 0.56, 0.52, -90, 270)),
    _template([*_arc(0, -0.45, 0.52, 0.55, 0, -360), (0.5, 0.2), (0.3, 1)]),
])  # fmt: skip
