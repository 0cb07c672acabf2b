"""Networks: layers with named parameters, and lists of such layers.

A layer has four members:
    shapes                              {name: shape} of its parameters; {} if it has none
    init(rng, params)                   draws the initial parameters
    forward(x, params) -> y
    backward(dy, x, y, params, grads) -> dx     fills the gradients of its parameters
All parameters of a model are in one vector, theta, and their gradients in another, dtheta. params
and grads are dicts of views into them, by name. A layer stores no values of a batch: its backward
is given everything that it needs.
"""

import math
from functools import partial

import numpy as np


class Linear:
    """a = x W + b, with the parameters `name.W` and `name.b`."""

    def __init__(self, name, n, m, ops, input_gradient=True):
        """n inputs, m outputs. input_gradient=False: the input is data, so backward returns None
        instead of dx, which saves a matrix product."""
        self.W, self.b = f"{name}.W", f"{name}.b"
        self.shapes = {self.W: (n, m), self.b: (m,)}
        self.ops = ops
        self.input_gradient = input_gradient

    def init(self, rng, params):
        params[self.W][...] = glorot_uniform(rng, *self.shapes[self.W])
        params[self.b][...] = 0

    def forward(self, x, params):
        return self.ops.linear_forward(x, params[self.W], params[self.b])

    def backward(self, da, x, a, params, grads):
        dW, db = grads[self.W], grads[self.b]
        if not self.input_gradient:
            self.ops.linear_backward_weights(da, x, dW, db)
            return None
        return self.ops.linear_backward(da, x, params[self.W], dW, db)


class Activation:
    """h = f(a) for one of the elementwise functions, without parameters."""

    shapes: dict[str, tuple[int, ...]] = {}

    def __init__(self, name, width, ops, kind):
        """kind: the function's name in layers.py, such as "sigmoid". Layers that have parameters
        need a name and a width; this one does not."""
        self.forward_function = getattr(ops, f"{kind}_forward")
        self.backward_function = getattr(ops, f"{kind}_backward")

    def init(self, rng, params):
        pass

    def forward(self, a, params):
        return self.forward_function(a)

    def backward(self, dh, a, h, params, grads):
        return self.backward_function(dh, h)


# The layers that may follow a linear layer, by their name in VAEConfig. Each is made by a function
# of (name, width, ops).
ACTIVATIONS = {
    kind: partial(Activation, kind=kind) for kind in ("sigmoid", "tanh", "relu", "leaky_relu")
}
OUTPUTS = ("sigmoid", "identity")  # from the decoder's last linear layer to the mean of p(x|z)


class Network:
    """A list of layers, applied one after the other."""

    def __init__(self, layers):
        self.layers = layers
        self.shapes = {name: shape for layer in layers for name, shape in layer.shapes.items()}

    def init(self, rng, params):
        for layer in self.layers:
            layer.init(rng, params)

    def forward(self, x, params):
        """x (B, n) -> [x, the output of the first layer, …, the output of the last layer]."""
        values = [x]
        for layer in self.layers:
            values.append(layer.forward(values[-1], params))
        return values

    def backward(self, dy, values, params, grads):
        """dy, the gradient of values[-1] -> the gradient of values[0], None if that is data."""
        for layer, x, y in reversed(list(zip(self.layers, values, values[1:]))):
            dy = layer.backward(dy, x, y, params, grads)
        return dy


def dense(name, widths, activation, ops, input_gradient=True):
    """A network of linear layers, each followed by an activation.

    widths: the number of inputs, then the width of each hidden layer; without hidden layers the
    output is the input. activation: a key of ACTIVATIONS. input_gradient=False: as in Linear.
    """
    layers: list = []
    for n, m in zip(widths, widths[1:]):
        needs_dx = input_gradient or len(layers) > 0
        layers.append(Linear(next_name(name, layers), n, m, ops, needs_dx))
        layers.append(ACTIVATIONS[activation](next_name(name, layers), m, ops))
    return Network(layers)


def next_name(network, layers):
    """"encoder.0", "encoder.1", …: only layers with parameters are counted."""
    return f"{network}.{sum(1 for layer in layers if layer.shapes)}"


def glorot_uniform(rng, n_in, n_out):
    """(E15)  W ~ U(−r, r),  r = √(6 / (n_in + n_out))

    -> W (n_in, n_out), float32. It is converted afterwards, so that every dtype and every device
    starts from the same numbers.
    Source: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    networks", equation 16.
    """
    r = math.sqrt(6 / (n_in + n_out))
    return r * (2 * rng.random((n_in, n_out), np.float32) - 1)


def size(shapes):
    """The number of parameters P, for shapes {name: shape}."""
    return sum(math.prod(shape) for shape in shapes.values())


def views(vector, shapes):
    """{name: view} into a flat vector (P,), in the order of shapes {name: shape}.

    Writing into a view writes into the vector: this is how a backward pass fills dtheta.
    """
    named = {}
    start = 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        named[name] = vector[start:stop].reshape(shape)
        start = stop
    return named
