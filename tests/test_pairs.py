"""What holds for every pair whatever the shape, values and memory, as Hypothesis draws them."""

import ast
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import VAE, VAEConfig, distributions, layers
from minivae.devices import cpu, readable
from minivae.distributions import LIKELIHOODS
from minivae.gradcheck import check_entries, check_pair, loss_and_gradient
from minivae.gradcheck.pairs import PAIRS
from minivae.networks import ACTIVATIONS, OUTPUTS

# Their derivatives are computed from an output that is rounded to a part of 1: far out, where they
# are small, they are right to a part of the upstream gradient and not of themselves.
SATURATING = {"sigmoid", "tanh", "softmax", "bernoulli_nll", "categorical_nll"}
WAYS = "forward", "backward"
WEIGHTS = {"W", "b"}  # their gradients are sums over the batch

# Every pair of the lesson, and those of which cpu.py has one function or both.
CASES = [(name, "readable") for name in PAIRS]
CASES += [
    (name, "cpu")
    for name in PAIRS
    if any(vars(cpu)[f"{name}_{way}"] is not vars(readable)[f"{name}_{way}"] for way in WAYS)
]
pairs = pytest.mark.parametrize("name, functions", CASES)
many = settings(max_examples=50)  # for each of two modules of functions
batches = st.integers(1, 6)
widths = st.one_of(st.integers(1, 4), st.integers(30, 50))
scales = st.sampled_from([1e-3, 1.0, 30.0])
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def chosen(request, monkeypatch):
    """The functions of the case: the lesson's own, or those that a model on the CPU calls."""
    case = getattr(request.node, "callspec", None)
    on_cpu = case and case.params.get("functions") == "cpu"
    monkeypatch.setenv("MINIVAE_OPS", "" if on_cpu else "readable")


def drawn(name, B, n, scale, seed, dtype="float64"):
    """The pair's functions, its inputs, and upstream gradients for its output."""
    forward, backward, _ = PAIRS[name]
    rng = np.random.default_rng(seed)
    inputs = [x.astype(dtype) for x in PAIRS[name].inputs(rng, B, n, scale)]
    output = forward(*inputs)
    return forward, backward, inputs, rng.standard_normal(output.shape).astype(dtype)


def outputs(forward, backward, inputs, upstream):
    """The output, then the gradients that there are."""
    gradients = backward(upstream, *inputs)
    return [forward(*inputs), *(dx for dx in gradients if dx is not None)]


def close(name, a, b, upstream):
    """Equal to a part of 1e-12 of the largest entry; SATURATING, of the upstream gradient's."""
    size = np.max(np.abs(b))
    if name in SATURATING:
        size = max(size, np.max(np.abs(upstream)))
    return np.max(np.abs(a - b)) <= 1e-12 * size


def test_every_pair_of_the_package_is_here():
    names = set()
    for module in (layers, distributions):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_forward"):
                names.add(node.name.removesuffix("_forward"))
    # stop_gradient's backward is on purpose not the derivative of its forward.
    assert names - {"stop_gradient"} == set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
@many
@given(batches, widths, scales, seeds)
def test_the_gradient_is_right(name, B, n, scale, seed):
    forward, backward, inputs, _ = drawn(name, B, n, scale, seed)
    for row in check_pair(forward, backward, inputs, seed=seed).rows:
        right = row.passed
        if name in SATURATING:
            right |= abs(row.analytic - row.numeric) <= 1e-13
        assert right, row


LAYOUTS = {
    "transposed": lambda x: np.asfortranarray(x),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "one of a stack": lambda x: np.stack([x, x], axis=-1)[..., 1],
}


@pairs
@many
@given(batches, widths, scales, seeds, st.sampled_from(list(LAYOUTS)))
def test_the_memory_changes_nothing_and_is_not_changed(name, functions, B, n, scale, seed, layout):
    forward, backward, inputs, upstream = drawn(name, B, n, scale, seed)
    expected = outputs(forward, backward, inputs, upstream)
    given = [LAYOUTS[layout](x) if x.ndim else x.copy() for x in [upstream, *inputs]]
    for array, x in zip(given, [upstream, *inputs]):
        assert np.array_equal(array, x)
        array.flags.writeable = False
    found = outputs(forward, backward, given[1:], given[0])
    for a, b in zip(found, expected, strict=True):
        assert close(name, a, b, upstream)
    for array, x in zip(given, [upstream, *inputs]):
        assert np.array_equal(array, x)


@pytest.mark.parametrize("name, functions", [case for case in CASES if case[0] != "batch_mean"])
@many
@given(batches, widths, scales, seeds)
def test_an_example_does_not_depend_on_its_batch(name, functions, B, n, scale, seed):
    forward, backward, inputs, upstream = drawn(name, B, n, scale, seed)
    names = list(PAIRS[name].draws)
    whole = [forward(*inputs), *backward(upstream, *inputs)]
    for i in range(B):
        alone = [x if key in WEIGHTS else x[[i]] for key, x in zip(names, inputs)]
        part = [forward(*alone), *backward(upstream[[i]], *alone)]
        for key, a, b in zip(["output", *names], part, whole, strict=True):
            if a is not None and key not in WEIGHTS:
                assert close(name, a, b[[i]], upstream), key


@pairs
@many
@given(batches, widths, scales, seeds)
def test_float32_stays_float32(name, functions, B, n, scale, seed):
    with np.errstate(over="ignore"):  # exp of a far log_var
        forward, backward, inputs, upstream = drawn(name, B, n, scale, seed, "float32")
        found = outputs(forward, backward, inputs, upstream)
    assert {array.dtype.name for array in found} == {"float32"}


some_layers = st.lists(st.sampled_from([1, 2, 5, 30]), max_size=4).map(tuple)


@many
@given(
    st.builds(
        VAEConfig,
        data_dim=st.sampled_from([1, 2, 7]),
        latent_dim=st.integers(1, 3),
        encoder_layers=some_layers,
        decoder_layers=some_layers,
        classifier_layers=some_layers,
        activation=st.sampled_from(list(ACTIVATIONS)),
        likelihood=st.sampled_from(list(LIKELIHOODS)),
        decoder_output=st.sampled_from(OUTPUTS),
        decoder_std=st.sampled_from([0.1, 1.0]),
        num_classes=st.integers(0, 3),
        label_gradient=st.booleans(),
        var_floor=st.sampled_from([0.0, 1e-5, 0.5]),
        beta=st.sampled_from([0.0, 0.5, 3.0]),
    ),
    batches,
    seeds,
)
def test_the_gradient_of_any_model_is_right(config, B, seed):
    """Without layers or with four, of width 1 or wide, one pixel, one code, one image.

    theta counts as one tensor: where one has a single entry, it may be a difference of larger ones.
    """
    rng = np.random.default_rng(seed)
    vae = VAE(config, seed=seed, dtype="float64")
    x, labels = rng.random((B, config.data_dim)), None
    if config.num_classes:
        labels = rng.integers(config.num_classes, size=B)
    report = check_entries(*loss_and_gradient(vae, x, labels, seed)[:3], entries=50, seed=seed)
    assert report.passed, f"\n{report}"
