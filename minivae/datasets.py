"""Data sets as rows of pixels, and the door: what images and labels must be to come in."""

import math
import os

import numpy as np

from . import mnist
from .errors import DataError
from .mnist import MIRRORS, MNIST

STROKES = {"train": (20_000, 0), "test": (4_000, 1)}  # number of images, seed


def load(name, split="train", root=None):
    """"mnist" or "strokes", "train" or "test" -> images (N, 784) float32 in [0, 1], labels (N,).

    root: the folder of MNIST's files, else that of the variable MINIVAE_DATA, and no other is
    looked into; where neither is named, the user's cache, and then a download. Raises DataError for
    an unknown name, FileError for a file that is missing or is not what it should be.
    """
    if name not in ("mnist", "strokes") or split not in ("train", "test"):
        raise DataError(f"{name!r}, {split!r}: load 'mnist' or 'strokes', 'train' or 'test'")
    if name == "strokes":
        images, labels, _ = strokes(*STROKES[split])
        return images, labels
    if not isinstance(root, (str, os.PathLike, type(None))):
        raise DataError(f"root={root!r}: the name of a folder, or None")
    folder = (os.environ.get("MINIVAE_DATA") or None) if root is None else root
    pixels, labels = mnist.load(split, folder, MNIST, MIRRORS)
    return pixels.reshape(len(pixels), -1) / np.float32(255), labels.astype(np.int64)


def minibatches(order, batch_size):
    """Cut an order of row numbers (N,) into batches; the last may be smaller."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def as_rows(name, array, shape, dtype):
    """The array in the dtype, or a DataError that tells what is wrong with it.

    shape: (n, width), or (None, width) for any number of rows but none.
    """
    dtype, (n, width) = np.dtype(dtype), shape
    found: tuple = getattr(array, "shape", ())
    if len(found) != 2 or found[1] != width or found[0] == 0 or n not in (None, found[0]):
        what = found or type(array).__name__
        raise DataError(f"{name} is {what}; it must be ({n or 'n'}, {width}), a row an example")
    if array.dtype.kind not in ("f", dtype.kind):
        raise DataError(f"{name} has dtype {array.dtype}; the model computes in {dtype}")
    return array.astype(dtype, copy=False)


def one_hot(labels, shape, dtype="float32"):
    """Labels, whole numbers (n,) -> rows of the shape (n, K); None -> rows of zeros.

    Rows (n, K) are passed on, in the dtype. Raises DataError for a label that is none of 0 … K − 1.
    """
    n, K = shape
    if labels is None:
        return np.zeros(shape, dtype)
    if not hasattr(labels, "shape"):
        labels = np.asarray(labels)
    if labels.shape == shape:
        return labels.astype(dtype, copy=False)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        found = f"{labels.dtype} {labels.shape}"
        raise DataError(f"labels are {found}; they must be integers ({n},) or rows ({n}, {K})")
    wrong = np.flatnonzero((labels < 0) | (labels >= K))
    if len(wrong):
        i = wrong[0]
        raise DataError(f"labels[{i}] is {labels[i]}; this model has {K} classes, from 0")
    return np.eye(K, dtype=dtype)[labels]


def strokes(n, seed=0):
    """n digits written by a hand that varies -> images (n, 784), labels (n,), factors.

    Images are float32 in [0, 1] in steps of 1/255, white on black, 28 × 28 rows of pixels, digits
    in equal numbers. factors is {name: (n,) float32}, all drawn from the seed, independently:
    slant (tangent of the lean to the right), width and height (1 is the template's), rotation
    (radians, clockwise), thickness (pixels), wobble (pixels of a smooth bending), offset_x and
    offset_y (pixels, right and down).
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 10)

    def normal(mean, std):
        return np.clip(rng.normal(mean, std, n), mean - 2 * std, mean + 2 * std).astype("f4")

    factors = {
        "slant": normal(0.12, 0.16),
        "width": normal(1, 0.13),
        "height": normal(1, 0.08),
        "rotation": normal(0, 0.08),
        "thickness": normal(2.7, 0.5),
        "wobble": normal(0.5, 0.2),
        "offset_x": normal(0, 0.7),
        "offset_y": normal(0, 0.7),
    }
    phases = rng.uniform(0, 2 * math.pi, (n, 2)).astype("f4")
    images = np.empty((n, 784), np.float32)
    for rows in minibatches(np.arange(n), 500):
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


TEMPLATES = np.stack(
    [
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
    ]
)
