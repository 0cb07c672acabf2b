"""Arguments that cannot be used are refused by name, value and first index, in one line."""

import dataclasses
import re

import numpy as np
import pytest
import scipy.sparse
from models import SMALL

from minivae import VAE, checks, datasets, errors, fit
from minivae import vae as model
from minivae.evidence.likelihood import estimate_log_p, log_weights
from minivae.training import evaluate, terms

CONFIG = dataclasses.replace(SMALL, activation="sigmoid")
BERNOULLI = dataclasses.replace(CONFIG, likelihood="bernoulli", decoder_output="identity")
LEARNED = dataclasses.replace(CONFIG, likelihood="gaussian_learned")
IDENTITY = dataclasses.replace(CONFIG, decoder_output="identity")
PLAIN = dataclasses.replace(CONFIG, num_classes=0)


# Numbers and names.


@pytest.mark.parametrize(
    "check, value, expected",
    [
        (lambda name, value: checks.integer(name, value, 1), 3, 3),
        (lambda name, value: checks.integer(name, value, 0), np.int64(0), 0),
        (checks.number, 0, 0.0),
        (checks.number, np.float32(0.5), 0.5),
        (checks.number, 10**38, 1e38),
        (checks.positive, np.int8(2), 2.0),
        (lambda name, value: checks.choice(name, value, ("a", "b")), "b", "b"),
    ],
)
def test_a_value_comes_back_as_python_s_own(check, value, expected):
    found = check("it", value)
    assert found == expected and type(found) is type(expected)


def integer_from_1(name, value):
    return checks.integer(name, value, 1)


def a_or_b(name, value):
    return checks.choice(name, value, ("a", "b"))


@pytest.mark.parametrize(
    "check, value, allowed",
    [
        *((integer_from_1, value, "whole numbers from 1") for value in (0, 1.0, True, "1", None)),
        *(
            (checks.number, value, "a number from 0 to 1e38")
            for value in (-1, 1e39, np.nan, np.inf, False, "0.5", None, 1j, 10**400)
        ),
        (checks.positive, 0, "a number above 0"),
        (checks.positive, -1, "a number from 0 to 1e38"),
        *((a_or_b, value, "one of a, b") for value in ("c", "", ["a"], None)),
    ],
)
def test_any_other_value_is_refused(check, value, allowed):
    with pytest.raises(errors.ConfigError) as refused:
        check("it", value)
    assert str(refused.value) == f"it={value!r}: {allowed}"


# Data sets.


def data(n=20):
    images = np.random.default_rng(0).random((n, 6), dtype=np.float32)
    return images, np.arange(n) % 3


def with_value(array, value, *index):
    array = array.astype(np.result_type(array, np.min_scalar_type(value)))
    array[index] = value
    return array


def refusal(call):
    """What a DataError says: one line."""
    with pytest.raises(errors.DataError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


UNIT = "this model takes numbers from 0 to 1, or uint8 from 0 to 255"
VALUES = {
    "nan": (np.nan, "is nan; "),
    "infinity": (np.inf, "is inf; "),
    "minus infinity": (-np.inf, "is -inf; "),
    "above 1": (np.float32(1.0000001), "is 1.0000001"),
    "below 0": (-0.5, "is -0.5; "),
}
ONLY_SHAPES = "it must be (n, 6), an array with one row per example"
ONLY_DTYPES = "this float32 model takes floating-point numbers, or uint8 from 0 to 255"
IMAGES = {
    "one image alone": (lambda x: x[0], "images is (6,); " + ONLY_SHAPES),
    "frames": (lambda x: x.reshape(-1, 2, 3), "images is (20, 2, 3); " + ONLY_SHAPES),
    "of another width": (lambda x: x[:, 1:], "images is (20, 5); " + ONLY_SHAPES),
    "none at all": (lambda x: x[:0], "images is (0, 6); " + ONLY_SHAPES),
    "a list": (lambda x: x.tolist(), "images is list; " + ONLY_SHAPES),
    "a tuple": (tuple, "images is tuple; " + ONLY_SHAPES),
    "None": (lambda x: None, "images is NoneType; " + ONLY_SHAPES),
    "a name": (lambda x: "mnist", "images is str; " + ONLY_SHAPES),
    "a sparse matrix": (lambda x: scipy.sparse.csr_array(x), "images is csr_array; " + ONLY_SHAPES),
    "a number": (lambda x: np.float32(1), "images is float32; " + ONLY_SHAPES),
    "objects": (lambda x: x.astype(object), "images has dtype object; " + ONLY_DTYPES),
    "strings": (lambda x: x.astype(str), "images has dtype <U32; " + ONLY_DTYPES),
    "truth values": (lambda x: x > 0.5, "images has dtype bool; " + ONLY_DTYPES),
    "int64": (lambda x: x.astype(np.int64), "images has dtype int64; " + ONLY_DTYPES),
    "int8": (lambda x: x.astype(np.int8), "images has dtype int8; " + ONLY_DTYPES),
    "uint16": (lambda x: x.astype(np.uint16), "images has dtype uint16; " + ONLY_DTYPES),
    "complex": (lambda x: x + 0j, "images has dtype complex64; " + ONLY_DTYPES),
}
INTEGERS = "this model has 3 classes: integers from 0, below 3"
ROWS = "they must be integers (20,) or rows (20, 3)"
HOT = np.eye(3)[np.arange(20) % 3]
LABELS = {
    "None": (lambda y: None, "labels is None; a model with classes needs them"),
    "too large": (lambda y: with_value(y, 3, 17), f"labels[17] is 3; {INTEGERS}"),
    "negative": (lambda y: with_value(y, -1, 4), f"labels[4] is -1; {INTEGERS}"),
    "huge": (lambda y: with_value(y.astype("u8"), 2**64 - 1, 4), f"labels[4] is {2**64 - 1}; "),
    "not whole": (
        lambda y: with_value(y, 1.5, 17),
        f"labels[17] is 1.5, of dtype float64; {INTEGERS}",
    ),
    "nan": (lambda y: with_value(y, np.nan, 2), f"labels[2] is nan, of dtype float64; {INTEGERS}"),
    "floats": (lambda y: y.astype("f4"), f"labels[0] is 0.0, of dtype float32; {INTEGERS}"),
    "objects": (lambda y: y.astype(object), f"labels[0] is 0, of dtype object; {INTEGERS}"),
    "strings": (lambda y: y.astype(str), f"labels[0] is 0, of dtype <U21; {INTEGERS}"),
    "truth values": (lambda y: y > 0, f"labels[0] is False, of dtype bool; {INTEGERS}"),
    "too few": (lambda y: y[1:], f"labels are int64 (19,); {ROWS}"),
    "too many": (lambda y: np.arange(21) % 3, f"labels are int64 (21,); {ROWS}"),
    "a column": (lambda y: y[:, None], f"labels are int64 (20, 1); {ROWS}"),
    "a number": (lambda y: 5, f"labels are int64 (); {ROWS}"),
    "a name": (lambda y: "seven", f"labels are <U5 (); {ROWS}"),
    "a list out of range": (lambda y: [*y[:19], 3], f"labels[19] is 3; {INTEGERS}"),
    "lists of several lengths": (lambda y: [[1], [1, 2]], "labels are a list of parts of several"),
    "rows of zeros": (lambda y: with_value(HOT, 0, 17), "labels[17] is not one-hot; a row has a"),
    "rows of two": (lambda y: with_value(HOT, 1, 17), "labels[17] is not one-hot"),
    "rows of probabilities": (lambda y: with_value(HOT, 1 / 3, 17), "labels[17] is not one-hot"),
    "rows that cancel": (
        lambda y: with_value(HOT, [1, 1, -1], 17),
        "labels[17] is not one-hot",
    ),
    "rows of nan": (lambda y: with_value(HOT, np.nan, 17), "labels[17] is not one-hot"),
    "rows of objects": (lambda y: HOT.astype(object), "labels are object (20, 3)"),
    "rows of complex numbers": (lambda y: HOT + 0j, "labels are complex128 (20, 3)"),
}
DOORS = {  # what takes a data set, and what it is called in the message
    "fit": (lambda vae, images, labels: fit(vae, (images, labels), epochs=1), "train "),
    "fit's test": (lambda vae, *test: fit(vae, data(), test, epochs=1), "test "),
    "evaluate": (evaluate, ""),
    "terms": (terms, ""),
}


@pytest.mark.parametrize("config", [CONFIG, BERNOULLI, LEARNED], ids=lambda c: c.likelihood)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_the_model_cannot_take_is_refused_by_its_index(value, config):
    images, _ = data()
    images[17, 4] = images[18, 0] = VALUES[value][0]
    said = refusal(lambda: checks.checked_images("images", images, config, "float32"))
    assert said.startswith(f"images[17, 4] {VALUES[value][1]}") and said.endswith(UNIT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_where_no_sigmoid_bounds_the_mean_values_are_finite(value):
    images, _ = data()
    assert checks.checked_images("images", 3 * images - 1, IDENTITY, "float32") is not None
    images[17, 4] = images[18, 0] = value
    said = refusal(lambda: checks.checked_images("images", images, IDENTITY, "float32"))
    assert said == f"images[17, 4] is {value}; this model takes finite numbers of float32"


def test_what_is_infinite_in_the_model_s_dtype_is_refused_as_it_was_given():
    images = data()[0].astype(float)
    images[3, 2] = -1e300
    said = refusal(lambda: checks.checked_images("images", images, IDENTITY, np.dtype("float32")))
    assert said == "images[3, 2] is -1e+300; this model takes finite numbers of float32"
    largest = np.full((2, 6), 1.7e308)  # finite, and its sum with itself is not
    assert checks.checked_images("images", largest, IDENTITY, np.float64) is not None


@pytest.mark.parametrize("fault", IMAGES)
def test_what_is_not_an_array_of_images_is_refused(fault):
    spoil, complaint = IMAGES[fault]
    images = spoil(data()[0])
    assert refusal(lambda: checks.checked_images("images", images, CONFIG, "float32")) == complaint


@pytest.mark.parametrize("fault", LABELS)
def test_labels_that_do_not_fit_are_refused(fault):
    spoil, complaint = LABELS[fault]
    labels = spoil(data()[1])
    said = refusal(lambda: checks.checked_one_hot("labels", labels, (20, 3), "float32"))
    assert said.startswith(complaint), said


@pytest.mark.parametrize("spoiled", ["a value", "the shape", "a label"])
@pytest.mark.parametrize("door", DOORS)
def test_every_function_that_takes_a_data_set_checks_it_before_the_first_step(door, spoiled):
    call, whose = DOORS[door]
    images, labels = data()
    images, labels, complaint = {
        "a value": (with_value(images, np.nan, 17, 4), labels, f"images[17, 4] is nan; {UNIT}"),
        "the shape": (images[:, 1:], labels, f"images is (20, 5); {ONLY_SHAPES}"),
        "a label": (images, with_value(labels, 3, 17), f"labels[17] is 3; {INTEGERS}"),
    }[spoiled]
    vae = VAE(CONFIG)
    before = vae.theta.copy()
    assert refusal(lambda: call(vae, images, labels)) == whose + complaint
    assert np.array_equal(vae.theta, before)


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize(
    "spoil, found",
    [
        (lambda images, labels: images, "ndarray"),
        (lambda images, labels: images.tolist(), "list of 20"),
        (lambda images, labels: (images,), "tuple of 1"),
        (lambda images, labels: (images, labels, None), "tuple of 3"),
        (lambda images, labels: {"images": images, "labels": labels}, "dict"),
        (lambda images, labels: zip(images, labels), "zip"),
        (lambda images, labels: "mnist", "str"),
    ],
)
def test_a_data_set_is_a_pair(name, spoil, found):
    sets = {"train": data(), name: spoil(*data())}
    said = refusal(lambda: fit(VAE(CONFIG), epochs=1, **sets))
    assert said == f"{name} is {found}; give (images, labels), or without classes (images, None)"


# Arrays that one call takes.


CALLS = {
    "x of forward": lambda vae, x: vae.forward(x, np.zeros((20, 2)))[0],
    "x of encode": lambda vae, x: vae.encode(x),
    "x of classify": lambda vae, x: vae.classify(x),
    "x of reconstruct": lambda vae, x: vae.reconstruct(x),
    "x of nll": lambda vae, x: vae.nll(x, np.zeros((20, 2)), HOT),
    "x of log_weights": lambda vae, x: log_weights(vae, x, np.zeros((20, 2, 2))),
    "x of estimate_log_p": lambda vae, x: estimate_log_p(vae, x, 3).log_p,
}


@pytest.mark.parametrize("fault", ["frames", "of another width", "a list", "int64", "complex"])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_that_takes_images_refuses_anything_else(call, fault):
    spoil, complaint = IMAGES[fault]
    said = refusal(lambda: CALLS[call](VAE(CONFIG), spoil(data()[0])))
    rows = "(20, 6)" if call in ("x of nll", "x of log_weights") else "(n, 6)"
    assert said == re.sub("^images", "x", complaint).replace("(n, 6)", rows)


def test_an_estimate_looks_at_its_images_once():
    images = with_value(data()[0], np.nan, 17, 4)
    assert refusal(lambda: estimate_log_p(VAE(CONFIG), images, 3)) == f"x[17, 4] is nan; {UNIT}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uint8_is_scaled_in_the_model_s_dtype(dtype):
    grey = np.random.default_rng(1).integers(0, 256, (20, 6), dtype=np.uint8)
    grey[0, :2] = 0, 255
    images, labels = grey / np.dtype(dtype).type(255), data()[1]
    assert images.dtype == dtype
    vae, twin = VAE(CONFIG, dtype=dtype), VAE(CONFIG, dtype=dtype)
    fit(vae, (grey, labels), (grey, labels), epochs=1)
    fit(twin, (images, labels), epochs=1)
    assert np.array_equal(vae.theta, twin.theta)
    assert evaluate(vae, grey, labels) == evaluate(vae, images, labels)
    _, acts = vae.forward(grey, np.zeros((20, 2)))
    assert acts.x.dtype == dtype and np.array_equal(acts.x, images)
    for call in CALLS.values():
        np.testing.assert_equal(call(vae, grey), call(vae, images))


@pytest.mark.parametrize("given", [np.uint8, np.float64, np.float16, ">f4"])
def test_a_data_set_is_cast_once_and_looked_at_once(monkeypatch, given):
    looked, seen = [], set()
    images, labels = (data()[0] * 255).astype(np.uint8), data()[1]
    if given != np.uint8:
        images = (images / 255).astype(given)
    check = checks.checked_images

    def checked_images(name, *arguments):
        looked.append(name)
        return check(name, *arguments)

    class Watched(VAE):
        def forward(self, x, eps, labels=None, beta=None):
            seen.add((x.dtype, None if labels is None else (labels.shape[1], labels.dtype)))
            return super().forward(x, eps, labels, beta)

    monkeypatch.setattr(checks, "checked_images", checked_images)
    fit(Watched(CONFIG), (images, labels), (images, labels), epochs=3, batch_size=5)
    assert looked == ["train images", "test images"]
    assert seen == {(np.dtype("float32"), (3, np.dtype("float32")))}


def test_labels_come_as_integers_of_every_kind_or_as_rows():
    images, labels = data()
    integers = [labels, labels.astype("u1"), labels.astype("u8"), labels.tolist(), tuple(labels)]
    rows = [HOT, HOT.astype(int), HOT.astype(bool)]
    found = [evaluate(VAE(CONFIG), images, given) for given in (*integers, *rows)]
    assert found == [found[0]] * len(found)


def test_without_classes_labels_are_idle():
    images, _ = data()
    fit(VAE(PLAIN), (images, None), (images, "whatever"), epochs=1)


def test_a_step_reads_no_pixels_in_its_checks():
    dtype = np.dtype("float32")
    images = np.broadcast_to(dtype.type(np.nan), (10**9, 784))  # 3 TB, were they all there
    rows = np.broadcast_to(dtype.type(np.nan), (10**9, 10))
    assert checks.as_images("x", images, (None, 784), dtype) is not None
    assert checks.as_rows("eps", rows, (10**9, 10), dtype).base is rows.base
    assert checks.one_hot(rows, rows.shape, dtype).base is rows.base
    vae = VAE(CONFIG)
    loss, _ = vae.forward(np.full((5, 6), np.nan, np.float32), np.zeros((5, 2)), data(5)[1])
    assert np.isnan(loss)


def test_a_step_has_three_checks(monkeypatch):
    """Each costs time: of the images, the noise and the labels, and of nothing else."""
    images, labels, _ = datasets.strokes(100)
    y, eps = checks.one_hot(labels, (100, 10)), np.zeros((100, 10), np.float32)
    calls = []

    def recorded(check):
        def call(*arguments):
            calls.append(check.__name__)
            return check(*arguments)

        return call

    for name in ("as_images", "as_rows", "one_hot"):
        monkeypatch.setattr(model, name, recorded(getattr(checks, name)))
    VAE().forward(images, eps, y)
    assert calls == ["as_images", "as_rows", "one_hot"]


def test_one_hot():
    assert checks.one_hot(np.array([2, 0]), (2, 3)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert checks.one_hot([2, 0], (2, 3)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert checks.one_hot(range(2), (2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert checks.one_hot(None, (2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    with pytest.raises(errors.DataError, match="labels"):
        checks.one_hot(5, (1, 3))
    for wrong in ([0, 3], [-1, 0], [0.5, 1], [0], [[0, 1], [0, 0]], [[[0]]]):
        with pytest.raises(errors.DataError, match="labels"):
            checks.one_hot(np.array(wrong), (2, 3))
    with pytest.raises(errors.DataError, match="labels are a list of parts of several lengths"):
        checks.one_hot([[0, 1], [1]], (2, 3))
