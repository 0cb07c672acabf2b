"""Networks: a linear layer that knows its parameters' names, and a stack of them.

A network is a forward, a backward, and the shapes of its parameters; that is all the model knows.
It remembers no batch: what the backward needs, it is given. params and grads are the parameters
and their gradients by name, views into theta and dtheta.
"""

from .layers import linear_backward, linear_backward_weights, linear_forward


class Linear:
    """a = x W + b, with W and b under the names `name.W` and `name.b`."""

    def __init__(self, name, n, m):
        self.W = f"{name}.W"
        self.b = f"{name}.b"
        self.shapes = {self.W: (n, m), self.b: (m,)}

    def forward(self, x, params):
        """x (B, n) -> a (B, m)."""
        return linear_forward(x, params[self.W], params[self.b])

    def backward(self, da, x, params, grads, input_gradient=True):
        """da (B, m), x (B, n) -> dx (B, n); fills grads.

        Where x is data nobody asks for dx: input_gradient=False saves a matrix product and gives
        None.
        """
        if not input_gradient:
            linear_backward_weights(da, x, grads[self.W], grads[self.b])
            return None
        return linear_backward(da, x, params[self.W], grads[self.W], grads[self.b])


class MLP:
    """h[0] = x,  h[i + 1] = activation(h[i] W_i + b_i);  without layers there is only h[0]."""

    def __init__(self, name, sizes, activation):
        """sizes: the widths of x and of each layer; activation: a Pair, the same after each."""
        self.activation = activation
        self.layers = [
            Linear(f"{name}.{i}", n, m) for i, (n, m) in enumerate(zip(sizes, sizes[1:]))
        ]
        self.shapes = {W: shape for layer in self.layers for W, shape in layer.shapes.items()}
        self.width = sizes[-1]

    def forward(self, x, params):
        """x (B, n) -> the list h, each (B, its width)."""
        h = [x]
        for layer in self.layers:
            a = layer.forward(h[-1], params)
            h.append(self.activation.forward(a))
        return h

    def backward(self, dh, h, params, grads, input_gradient=True):
        """The gradient dh of the last h, and the list h -> the gradient of h[0]; fills grads."""
        for i, layer in reversed(list(enumerate(self.layers))):
            da = self.activation.backward(dh, h[i + 1])
            # dh of h[i + 1] becomes dh of h[i]; input_gradient=False skips only that of h[0].
            dh = layer.backward(da, h[i], params, grads, input_gradient or i > 0)
        return dh
