"""Checks of arguments: every function returns the value in the right type, or raises an error that
names the argument, its value, and what is allowed."""

import numpy as np

from .devices.memory import device_of, get
from .errors import ConfigError, DataError

LARGEST = 10**38  # the largest number of float32 is 3.4e38


def integer(name, value, least):
    """The value as a Python int of at least `least`, or ConfigError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigError(f"{name}={value!r}: whole numbers from {least}")
    return int(value)


def number(name, value):
    """The value as a Python float, not negative and within float32's range, or ConfigError."""
    real = isinstance(value, (int, float, np.integer, np.floating))
    if not real or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise ConfigError(f"{name}={value!r}: a number from 0 to 1e38")
    return float(value)


def positive(name, value):
    """As `number`, but not 0."""
    if number(name, value) == 0:
        raise ConfigError(f"{name}={value!r}: a number above 0")
    return float(value)


def choice(name, value, allowed):
    """One of the allowed strings, or ConfigError."""
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name}={value!r}: one of {', '.join(allowed)}")
    return value


def as_rows(name, array, shape, dtype, allowed="floating-point numbers"):
    """The array in the dtype, or a DataError that says what is wrong with it.

    shape: (n, width), or (None, width) for any number of rows from 1. The values are not read.
    """
    dtype, (n, width) = np.dtype(dtype), shape
    # __array_ufunc__ is what NumPy's functions look for; CuPy's arrays have it as well.
    found: tuple = getattr(array, "shape", ()) if hasattr(array, "__array_ufunc__") else ()
    if len(found) != 2 or found[1] != width or found[0] == 0 or n not in (None, found[0]):
        what = found or type(array).__name__
        needed = f"({n or 'n'}, {width})"
        raise DataError(f"{name} is {what}; it must be {needed}, an array with one row per example")
    given = getattr(array, "dtype", "none")
    if getattr(given, "kind", "") not in ("f", dtype.kind):
        raise DataError(f"{name} has dtype {given}; this {dtype} model takes {allowed}")
    return array.astype(dtype, copy=False)


def as_images(name, array, shape, dtype):
    """As as_rows; uint8 images, with grey levels from 0 to 255, are scaled to [0, 1]."""
    dtype = np.dtype(dtype)
    if getattr(array, "dtype", None) == np.uint8:
        array = array / dtype.type(255)
    return as_rows(name, array, shape, dtype, "floating-point numbers, or uint8 from 0 to 255")


def checked_images(name, images, config, dtype):
    """As as_images, for a whole data set on the host: every value is checked, once.

    With the bernoulli likelihood, or when a sigmoid gives the Gaussian's mean, values must lie in
    [0, 1]; otherwise they must be finite. Raises DataError with the first index that is wrong.
    """
    _on_host(name, images)
    with np.errstate(over="ignore"):  # what is too large for the dtype becomes inf: an error below
        rows = as_images(name, images, (None, config.data_dim), dtype)
    values = rows.real  # complex models exist only for gradient checks
    if config.likelihood != "bernoulli" and config.decoder_output == "identity":
        right, allowed = np.isfinite(values), f"finite numbers of {dtype}"
    else:
        right = (0 <= values) & (values <= 1)
        allowed = "numbers from 0 to 1, or uint8 from 0 to 255"
    if not right.all():
        i, j = np.unravel_index(np.argmin(right), right.shape)
        raise DataError(f"{name}[{i}, {j}] is {images[i, j]}; this model takes {allowed}")
    return rows


def _on_host(name, array):
    if device_of(array) == "gpu" and hasattr(array, "get"):
        raise DataError(f"{name} must be in the host's memory, not on the GPU; use its .get()")


def one_hot(labels, shape, dtype="float32", name="labels"):
    """Labels, whole numbers (n,) -> one-hot rows of the shape (n, K); None -> rows of zeros.

    Labels are checked on the host, because a GPU would wrap an index that is out of range. Rows
    (n, K) are only converted to the dtype. Raises DataError for a label outside 0 … K − 1.
    """
    (n, K), dtype = shape, np.dtype(dtype)
    if labels is None:
        return np.zeros(shape, dtype)
    if not hasattr(labels, "shape"):
        try:
            labels = np.asarray(labels)
        except ValueError as error:
            what = f"a {type(labels).__name__} of parts of several lengths"
            raise DataError(f"{name} are {what}; they must be integers ({n},)") from error
    found = getattr(labels, "dtype", type(labels).__name__)
    kind = getattr(found, "kind", "")
    if labels.shape == shape and kind in ("f", "i", "u", "b", dtype.kind):
        return labels.astype(dtype, copy=False)
    if labels.shape != (n,):
        what = f"{found} {labels.shape}"
        raise DataError(f"{name} are {what}; they must be integers ({n},) or rows ({n}, {K})")
    allowed = f"this model has {K} classes: integers from 0, below {K}"
    if kind not in ("i", "u"):
        i = np.argmax(labels != np.floor(labels)) if kind == "f" else 0
        raise DataError(f"{name}[{i}] is {labels[i]}, of dtype {found}; {allowed}")
    labels = get(labels)
    right = (0 <= labels) & (labels < K)
    if not right.all():
        i = np.argmin(right)
        raise DataError(f"{name}[{i}] is {labels[i]}; {allowed}")
    return np.eye(K, dtype=dtype)[labels]


def checked_one_hot(name, labels, shape, dtype):
    """As one_hot, for a whole data set on the host: labels are required, rows must be one-hot."""
    if labels is None:
        raise DataError(f"{name} is None; a model with classes needs them, num_classes=0 does not")
    _on_host(name, labels)
    y = one_hot(labels, shape, dtype, name=name)
    right = (np.sum(y, axis=1) == 1) & np.all((y == 0) | (y == 1), axis=1)
    if not right.all():
        i = np.argmin(right)
        raise DataError(f"{name}[{i}] is not one-hot; a row has a single 1 and otherwise zeros")
    return y


def checked_data(data, config, dtype, of=""):
    """A whole data set (images, labels), as arrays of the dtype: images (N, D), and one-hot rows
    (N, K), or None without classes. of: which set it is ("train "), for the error message."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        length = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
        what = f"{of.strip()} is {type(data).__name__}{length}"
        raise DataError(f"{what}; give (images, labels), or without classes (images, None)")
    images = checked_images(f"{of}images", data[0], config, dtype)
    if not config.num_classes:
        return images, None
    shape = len(images), config.num_classes
    return images, checked_one_hot(f"{of}labels", data[1], shape, dtype)
