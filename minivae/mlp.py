"""Networks: a linear layer that knows its parameters' names, and a stack of them.

A network is a forward, a backward, and the shapes of its parameters; that is all the model knows.
It remembers no batch: what the backward needs, it is given.
p and g are the parameters and the gradients by name, as parameters.views gives them.
"""

from .layers import linear_backward, linear_backward_weights, linear_forward


class Linear:
    """a = x W + b, with W and b under the names `name.W` and `name.b`."""

    def __init__(self, name, n, m):
        self.W = f"{name}.W"
        self.b = f"{name}.b"
        self.shapes = {self.W: (n, m), self.b: (m,)}

    def forward(self, x, p):
        """x (B, n) -> a (B, m)."""
        return linear_forward(x, p[self.W], p[self.b])

    def backward(self, da, x, p, g, input_gradient=True):
        """Fill g and return dx (B, n).

        Where x is data nobody asks for dx: input_gradient=False saves a matrix product.
        """
        if input_gradient:
            return linear_backward(da, x, p[self.W], g[self.W], g[self.b])
        return linear_backward_weights(da, x, g[self.W], g[self.b])


class MLP:
    """h⁰ = x,  hˡ⁺¹ = activation(hˡ Wˡ + bˡ);  without layers h⁰ alone."""

    def __init__(self, name, sizes, activation):
        """sizes: the widths of x, h¹, …; activation: a Pair, the same after each layer."""
        self.activation = activation
        self.layers = [
            Linear(f"{name}.{i}", n, m) for i, (n, m) in enumerate(zip(sizes, sizes[1:]))
        ]
        self.shapes = {name: shape for layer in self.layers for name, shape in layer.shapes.items()}
        self.width = sizes[-1]

    def forward(self, x, p):
        """x (B, n) -> [x, h¹, …], each (B, its width)."""
        h = [x]
        for layer in self.layers:
            a = layer.forward(h[-1], p)
            h.append(self.activation.forward(a))
        return h

    def backward(self, dh, h, p, g, input_gradient=True):
        """dh, the gradient of the last h, and the list that forward gave -> dx (B, n); fills g."""
        for i, layer in reversed(list(enumerate(self.layers))):
            da = self.activation.backward(dh, h[i + 1])
            dh = layer.backward(da, h[i], p, g, input_gradient or i > 0)
        return dh
