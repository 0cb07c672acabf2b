"""Data sets as rows of pixels, and the door: what images and labels must be to come in."""

import math
import os

import numpy as np

from . import mnist
from .backend import get, put
from .config import integer
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


def as_rows(name, array, shape, dtype, device="cpu", allowed="floating-point numbers"):
    """The array in the dtype, on the device, or a DataError that tells what is wrong with it.

    shape: (n, width), or (None, width) for any number of rows but none. No value is read.
    """
    dtype, (n, width) = np.dtype(dtype), shape
    # What NumPy's functions take for an array: its own, and those of a GPU.
    found: tuple = getattr(array, "shape", ()) if hasattr(array, "__array_ufunc__") else ()
    if len(found) != 2 or found[1] != width or found[0] == 0 or n not in (None, found[0]):
        what = found or type(array).__name__
        needed = f"({n or 'n'}, {width})"
        raise DataError(f"{name} is {what}; it must be {needed}, an array with a row an example")
    given = getattr(array, "dtype", "none")
    if getattr(given, "kind", "") not in ("f", dtype.kind):
        raise DataError(f"{name} has dtype {given}; this {dtype} model takes {allowed}")
    return put(array.astype(dtype, copy=False), device, name)


def as_images(name, array, shape, dtype, device="cpu"):
    """As as_rows; uint8, grey levels from 0 to 255, are scaled to [0, 1]."""
    dtype = np.dtype(dtype)
    if getattr(array, "dtype", None) == np.uint8:
        array = put(array, device, name) / dtype.type(255)
    allowed = "floating-point numbers, or uint8 from 0 to 255"
    return as_rows(name, array, shape, dtype, device, allowed)


def checked_images(name, images, config, dtype):
    """As as_images, for a whole data set: every value is looked at, once, for what cannot be.

    Where the likelihood is bernoulli, or a sigmoid makes the Gaussian's mean, values lie in [0, 1];
    elsewhere they are finite. Raises DataError with the first index that is wrong.
    """
    with np.errstate(over="ignore"):  # what is too large for the dtype is inf, and refused below
        rows = as_images(name, images, (None, config.data_dim), dtype)
    values = rows.real  # of a complex model, which is for checks of gradients alone
    low, high = float(values.min()), float(values.max())  # nan if there is one
    if config.likelihood != "bernoulli" and config.decoder_output == "identity":
        if not (math.isfinite(low) and math.isfinite(high)):
            _refuse_first(name, images, ~np.isfinite(values), f"finite numbers of {dtype}")
    elif not (0 <= low and high <= 1):
        outside = ~((values >= 0) & (values <= 1))
        _refuse_first(name, images, outside, "numbers from 0 to 1, or uint8 from 0 to 255")
    return rows


def _refuse_first(name, images, wrong, allowed):
    i, j = divmod(int(np.argmax(wrong)), wrong.shape[1])
    raise DataError(f"{name}[{i}, {j}] is {images[i, j]}; this model takes {allowed}")


def one_hot(labels, shape, dtype="float32", device="cpu", name="labels"):
    """Labels, whole numbers (n,) -> rows of the shape (n, K) on the device; None -> rows of zeros.

    Labels are looked at on the host, for a GPU would wrap what is out of range. Rows (n, K) are
    passed on, in the dtype. Raises DataError for a label that is none of 0 … K − 1.
    """
    (n, K), dtype = shape, np.dtype(dtype)
    if labels is None:
        return put(np.zeros(shape, dtype), device)
    if not hasattr(labels, "shape"):
        try:
            labels = np.asarray(labels)
        except ValueError as error:
            what = f"a {type(labels).__name__} of parts of several lengths"
            raise DataError(f"{name} are {what}; they must be integers ({n},)") from error
    found = getattr(labels, "dtype", type(labels).__name__)
    kind = getattr(found, "kind", "")
    if labels.shape == shape and kind in ("f", "i", "u", "b", dtype.kind):
        return put(labels.astype(dtype, copy=False), device, name)
    if labels.shape != (n,):
        what = f"{found} {labels.shape}"
        raise DataError(f"{name} are {what}; they must be integers ({n},) or rows ({n}, {K})")
    allowed = f"this model has {K} classes: integers from 0, below {K}"
    if kind not in ("i", "u"):
        i = int(np.argmax(labels != np.floor(labels))) if kind == "f" else 0
        raise DataError(f"{name}[{i}] is {labels[i]}, of dtype {found}; {allowed}")
    labels = get(labels)
    wrong = (labels < 0) | (labels >= K)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(f"{name}[{i}] is {labels[i]}; {allowed}")
    return put(np.eye(K, dtype=dtype)[labels], device)


def checked_one_hot(name, labels, shape, dtype):
    """As one_hot, for a whole data set: no labels, or rows that are not one-hot, are refused."""
    if labels is None:
        raise DataError(f"{name} is None; a model with classes needs them, num_classes=0 does not")
    y = one_hot(labels, shape, dtype, name=name)
    wrong = (np.sum(y, axis=1) != 1) | np.any((y != 0) & (y != 1), axis=1)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(f"{name}[{i}] is not one-hot; a row has a single 1 and else zeros")
    return y


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
