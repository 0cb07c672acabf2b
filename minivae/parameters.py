"""All parameters in one flat vector, and the views that give its parts their names."""

import math

import numpy as np


def views(vector, shapes):
    """{name: view} onto a flat vector (P,), in the order of shapes {name: shape}.

    Writing into a view writes into the vector: so a backward, given views, fills dtheta.
    """
    named = {}
    start = 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        named[name] = vector[start:stop].reshape(shape)
        start = stop
    return named


def size(shapes):
    """P, the length of the flat vector."""
    return sum(math.prod(shape) for shape in shapes.values())


def glorot_uniform(shapes, seed):
    """(E15)  W ~ U(−r, r),  r = √(6 / (n_in + n_out)),  b = 0

    shapes {name: (n_in, n_out) or (n_out,)} -> theta (P,), float32: every dtype and device is to
    see the same numbers, so they are drawn once, in the narrowest, and cast afterwards.
    Source: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    networks", equation 16.
    """
    rng = np.random.default_rng(seed)
    theta = np.zeros(size(shapes), np.float32)
    for W in views(theta, shapes).values():
        if W.ndim == 2:
            n_in, n_out = W.shape
            r = math.sqrt(6 / (n_in + n_out))
            W[...] = r * (2 * rng.random(W.shape, np.float32) - 1)
    return theta
