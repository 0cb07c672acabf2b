"""Layers with parameters, lists of them, and the one vector that holds all parameters."""

import numpy as np
import pytest
import scipy.stats

from minivae import networks
from minivae.gradcheck import check_entries

pytestmark = pytest.mark.usefixtures("readable")
SHAPES = {"one.W": (300, 200), "one.b": (200,), "two.W": (200, 100), "two.b": (100,)}


def test_views_are_the_vector_itself_in_order_and_without_a_gap():
    theta = np.arange(float(networks.size(SHAPES)))
    named = networks.views(theta, SHAPES)
    assert {name: view.shape for name, view in named.items()} == SHAPES
    assert np.array_equal(np.concatenate([view.ravel() for view in named.values()]), theta)
    named["two.b"][:] = -1
    assert (theta[-100:] == -1).all()


@pytest.mark.parametrize("n_in, n_out", [(300, 200), (200, 100)])
def test_E15_glorot_uniform(rng, n_in, n_out):
    W = networks.glorot_uniform(rng, n_in, n_out)
    assert W.shape == (n_in, n_out) and W.dtype == np.float32
    r = np.sqrt(6 / (n_in + n_out))
    # Of n uniform draws the largest is within r (1 − 20/n), but for exp(−20) of cases.
    assert r * (1 - 20 / W.size) < abs(W).max() <= r * (1 + 1e-6)
    assert scipy.stats.kstest(W.ravel(), scipy.stats.uniform(-r, 2 * r).cdf).pvalue > 1e-6
    # The variance that the paper asks for, 2 / (n_in + n_out); 5 standard errors.
    variance = 2 / (n_in + n_out)
    assert abs(W.var() - variance) < 5 * variance * np.sqrt(0.8 / W.size)


def test_layers_draw_their_weights_in_their_order_and_biases_start_at_zero(ops):
    network = networks.dense("net", (4, 3, 2), "tanh", ops)
    theta = np.full(networks.size(network.shapes), np.nan, np.float32)
    params = networks.views(theta, network.shapes)
    network.init(np.random.default_rng(5), params)
    rng = np.random.default_rng(5)
    for n, (n_in, n_out) in enumerate([(4, 3), (3, 2)]):
        expected = networks.glorot_uniform(rng, n_in, n_out)
        assert np.array_equal(params[f"net.{n}.W"], expected)
        assert not params[f"net.{n}.b"].any()


def test_only_layers_with_parameters_are_counted(ops):
    network = networks.dense("encoder", (6, 5, 4), "relu", ops)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Linear", "Activation"] * 2
    assert network.shapes == {
        "encoder.0.W": (6, 5), "encoder.0.b": (5,), "encoder.1.W": (5, 4), "encoder.1.b": (4,),
    }  # fmt: skip
    assert networks.dense("empty", (6,), "relu", ops).shapes == {}


class Scale:
    """y = s x: a layer that is defined here, as a reader would write one."""

    def __init__(self, name, width):
        self.s = f"{name}.s"
        self.shapes = {self.s: (width,)}

    def init(self, rng, params):
        params[self.s][...] = 1 + rng.random(params[self.s].shape, np.float32)

    def forward(self, x, params):
        return params[self.s] * x

    def backward(self, dy, x, y, params, grads):
        grads[self.s][...] = np.sum(dy * x, axis=0)
        return dy * params[self.s]


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_a_network_s_backward_is_the_gradient_of_its_forward(rng, ops, activation):
    """Of the sum of upstream · output, with respect to the input and to every parameter."""
    layers = networks.dense("net", (4, 3), activation, ops).layers
    layers.append(Scale(networks.next_name("net", layers), 3))
    layers.append(networks.Linear(networks.next_name("net", layers), 3, 2, ops))
    network = networks.Network(layers)
    assert [name for name in network.shapes if name[-1] != "b"] == ["net.0.W", "net.1.s", "net.2.W"]
    P = networks.size(network.shapes)
    theta, x, upstream = (rng.standard_normal(n) for n in (P, (5, 4), (5, 2)))
    network.init(rng, networks.views(theta, network.shapes))

    def loss(vector):
        params = networks.views(vector[:P], network.shapes)
        return np.sum(upstream * network.forward(vector[P:].reshape(5, 4), params)[-1])

    params, dtheta = networks.views(theta, network.shapes), np.full(P, np.nan)
    values = network.forward(x, params)
    assert values[0] is x and len(values) == len(network.layers) + 1
    grads = networks.views(dtheta, network.shapes)
    dx = network.backward(upstream, values, params, grads)
    everything = np.concatenate([theta, x.ravel()]), np.concatenate([dtheta, dx.ravel()])
    report = check_entries(loss, *everything, network.shapes | {"x": x.shape})
    assert report.passed, f"\n{report}"


def test_a_layer_that_reads_data_computes_no_gradient_for_it(rng, ops):
    """The gradients of its weights are the same."""
    theta, x, dy = rng.standard_normal(20), rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    found = []
    for input_gradient in (True, False):
        network = networks.dense("net", (4, 4), "tanh", ops, input_gradient)
        params, dtheta = networks.views(theta, network.shapes), np.full(20, np.nan)
        values = network.forward(x, params)
        dx = network.backward(dy, values, params, networks.views(dtheta, network.shapes))
        assert (dx is None) != input_gradient
        found.append(dtheta)
    assert np.array_equal(*found)


def test_without_layers_a_network_gives_its_input_back(rng, ops):
    network = networks.dense("net", (4,), "sigmoid", ops)
    x, dy = rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    values = network.forward(x, {})
    assert len(values) == 1 and values[0] is x
    assert network.backward(dy, values, {}, {}) is dy
