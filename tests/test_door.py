"""The door: arrays that a model cannot take are refused, by name and first index, in one line."""

import dataclasses
import re
import timeit

import numpy as np
import pytest
import scipy.sparse

from minivae import VAE, VAEConfig, datasets, errors, fit, training
from minivae.likelihood import estimate_log_p, log_weights
from minivae.training import evaluate, terms

CONFIG = VAEConfig(
    data_dim=6,
    latent_dim=2,
    encoder_layers=(5,),
    decoder_layers=(4,),
    num_classes=3,
    classifier_layers=(3,),
)
BERNOULLI = dataclasses.replace(CONFIG, likelihood="bernoulli", decoder_output="identity")
LEARNED = dataclasses.replace(CONFIG, likelihood="gaussian_learned")
IDENTITY = dataclasses.replace(CONFIG, decoder_output="identity")
PLAIN = dataclasses.replace(CONFIG, num_classes=0)


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
ONLY_SHAPES = "it must be (n, 6), an array with a row an example"
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
# Each takes a data set; fit takes it for training, or for the test after training on a good one.
DOORS = {
    "fit": lambda vae, images, labels: fit(vae, (images, labels), epochs=1),
    "fit's test": lambda vae, images, labels: fit(vae, data(), (images, labels), epochs=1),
    "evaluate": evaluate,
    "terms": terms,
}


def refused_at(door, images, labels, config=CONFIG):
    """What the door says; the model is what it was."""
    vae = VAE(config)
    before = vae.theta.copy()
    said = refusal(lambda: DOORS[door](vae, images, labels))
    assert np.array_equal(vae.theta, before)
    whose = {"fit": "train ", "fit's test": "test "}.get(door, "")
    assert said.startswith(whose)
    return said.removeprefix(whose)


@pytest.mark.parametrize("config", [CONFIG, BERNOULLI, LEARNED], ids=lambda c: c.likelihood)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("door", DOORS)
def test_a_value_that_the_model_cannot_take_is_refused_by_its_index(door, value, config):
    images, labels = data()
    images[17, 4] = images[18, 0] = VALUES[value][0]
    said = refused_at(door, images, labels, config)
    assert said.startswith(f"images[17, 4] {VALUES[value][1]}") and said.endswith(UNIT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("door", DOORS)
def test_where_no_sigmoid_bounds_the_mean_values_are_finite(door, value):
    images, labels = data()
    images[17, 4] = images[18, 0] = value
    said = refused_at(door, images, labels, IDENTITY)
    assert said == f"images[17, 4] is {value}; this model takes finite numbers of float32"
    DOORS[door](VAE(IDENTITY), 3 * data()[0] - 1, labels)


def test_what_is_infinite_in_the_model_s_dtype_is_refused_as_it_was_given():
    images = data()[0].astype(float)
    images[3, 2] = -1e300
    said = refused_at("fit", images, data()[1], IDENTITY)
    assert said == "images[3, 2] is -1e+300; this model takes finite numbers of float32"
    largest = np.full((2, 6), 1.7e308)  # finite, and its sum with itself is not
    assert datasets.checked_images("images", largest, IDENTITY, np.float64) is not None


@pytest.mark.parametrize("fault", IMAGES)
@pytest.mark.parametrize("door", DOORS)
def test_images_that_are_none_are_refused(door, fault):
    spoil, complaint = IMAGES[fault]
    images, labels = data()
    assert refused_at(door, spoil(images), labels) == complaint


@pytest.mark.parametrize("fault", LABELS)
@pytest.mark.parametrize("door", DOORS)
def test_labels_that_do_not_fit_are_refused(door, fault):
    spoil, complaint = LABELS[fault]
    images, labels = data()
    said = refused_at(door, images, spoil(labels))
    assert said.startswith(complaint), said


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


CALLS = {
    "x of forward": lambda vae, x: vae.forward(x, np.zeros((20, 2)))[0],
    "x of encode": lambda vae, x: vae.encode(x),
    "x of classify": lambda vae, x: vae.classify(x),
    "x of reconstruct": lambda vae, x: vae.reconstruct(x),
    "x of nll": lambda vae, x: vae.nll(x, np.zeros((20, 2)), HOT),
    "x of log_weights": lambda vae, x: log_weights(vae, x, np.zeros((20, 2, 2))),
    "x of estimate_log_p": lambda vae, x: estimate_log_p(vae, x, 3).log_p,
}


@pytest.mark.parametrize("fault", [f for f in IMAGES if f != "none at all"])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_that_takes_images_refuses_what_are_none(call, fault):
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

    def checked_images(name, *arguments):
        looked.append(name)
        return datasets.checked_images(name, *arguments)

    class Watched(VAE):
        def forward(self, x, eps, labels=None):
            seen.add((x.dtype, None if labels is None else (labels.shape[1], labels.dtype)))
            return super().forward(x, eps, labels)

    monkeypatch.setattr(training, "checked_images", checked_images)
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


def test_a_step_reads_no_pixels_at_the_door():
    dtype = np.dtype("float32")
    images = np.broadcast_to(dtype.type(np.nan), (10**9, 784))  # 3 TB, were they all there
    rows = np.broadcast_to(dtype.type(np.nan), (10**9, 10))
    assert datasets.as_images("x", images, (None, 784), dtype) is not None
    assert datasets.as_rows("eps", rows, (10**9, 10), dtype).base is rows.base
    assert datasets.one_hot(rows, rows.shape, dtype).base is rows.base
    vae = VAE(CONFIG)
    loss, _ = vae.forward(np.full((5, 6), np.nan, np.float32), np.zeros((5, 2)), data(5)[1])
    assert np.isnan(loss)


def test_the_checks_of_a_step_cost_at_most_15_microseconds(monkeypatch):
    """All that forward calls of datasets.py, with the arguments that it gives, at batch 100."""
    from minivae import vae as module

    images, labels, _ = datasets.strokes(100)
    y, eps = datasets.one_hot(labels, (100, 10)), np.zeros((100, 10), np.float32)
    calls = []

    def recorded(check):
        def call(*arguments):
            calls.append((check, arguments))
            return check(*arguments)

        return call

    for name in ("as_images", "as_rows", "one_hot"):
        monkeypatch.setattr(module, name, recorded(getattr(module, name)))
    VAE().forward(images, eps, y)
    assert [check.__name__ for check, _ in calls] == ["as_images", "as_rows", "one_hot"]

    def door():
        for check, arguments in calls:
            check(*arguments)

    seconds = np.median(timeit.repeat(door, number=20, repeat=500)) / 20
    assert seconds < 15e-6, f"{seconds * 1e6:.1f} µs"
