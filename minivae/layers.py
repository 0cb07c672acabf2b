"""The layers: each forward function with its backward function under it.

dX is the gradient of the loss with respect to X, and has the shape of X. A backward function takes
the gradient of the forward's output first, and then the forward values that the derivative depends
on (for an activation, its output h). It returns the gradients of the inputs; the gradients of
weights are written into the arrays dW and db that it is given. Each row of an array is one
example: B examples, n inputs and m outputs of a layer, K classes. Products with W and xᵀ are matrix
products; all other products are elementwise. (E1), (E2), … are the numbers of the equations in
docs/derivation.md.

The arrays may hold real or complex numbers: the tests compare each gradient with the complex step,
f′(a) ≈ Im f(a + iδ) / δ, which involves no subtraction. Functions with a kink therefore compare
a.real with 0.
"""

import numpy as np

LEAKY_SLOPE = 0.2


def backward_of(forward, wrt):
    """Record which forward a backward function belongs to. This has no effect on training;
    `minivae trace` reads it.

    wrt ("with respect to") names the inputs of the forward that have a gradient, in the order of
    the gradients. With wrt=(), the output counts as a constant.
    """

    def declare(backward):
        backward.forward = forward.__name__
        backward.wrt = wrt
        return backward

    return declare


def linear_forward(x, W, b):
    """(E1)  a = x W + b

    x (B, n), W (n, m), b (m,) -> a (B, m).
    Source: Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors".
    """
    return x @ W + b


@backward_of(linear_forward, wrt=("x", "W", "b"))
def linear_backward(da, x, W, dW, db):
    """dx = da Wᵀ,  dW = xᵀ da,  db = the sum of da over its rows.

    dW and db are assigned, not accumulated, because each weight is used once per pass.
    """
    np.matmul(x.T, da, out=dW)
    np.sum(da, axis=0, out=db)
    return da @ W.T


@backward_of(linear_forward, wrt=("W", "b"))
def linear_backward_weights(da, x, dW, db):
    """dW = xᵀ da,  db = the sum of da over its rows: for a layer whose input is data."""
    np.matmul(x.T, da, out=dW)
    np.sum(da, axis=0, out=db)


def sigmoid_forward(a):
    """(E2)  h = 1 / (1 + exp(−a))

    a (B, m) -> h (B, m).
    Source: Rumelhart, Hinton, Williams 1986.
    """
    # This is the same function: h = ½ (1 + tanh ½a). exp(−a) overflows in float32 at a = −89;
    # tanh never overflows.
    return 0.5 + 0.5 * np.tanh(0.5 * a)


@backward_of(sigmoid_forward, wrt=("a",))
def sigmoid_backward(dh, h):
    """da = dh · h (1 − h)"""
    return dh * h * (1 - h)


def tanh_forward(a):
    """(E3)  h = tanh(a)

    a (B, m) -> h (B, m).
    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp".
    """
    return np.tanh(a)


@backward_of(tanh_forward, wrt=("a",))
def tanh_backward(dh, h):
    """da = dh (1 − h²)"""
    return dh * (1 - h * h)


def relu_forward(a):
    """(E4)  h = a where a > 0, else 0

    a (B, m) -> h (B, m).
    Source: Nair, Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    return np.where(a.real <= 0, 0, a)  # a NaN stays NaN


@backward_of(relu_forward, wrt=("a",))
def relu_backward(dh, h):
    """da = dh where h > 0, else 0;  h > 0 exactly where a > 0; at the kink, a = 0, da is 0"""
    return np.where(h.real > 0, dh, 0)


def leaky_relu_forward(a):
    """(E5)  h = a where a > 0, else 0.2 a

    a (B, m) -> h (B, m).
    Source: Maas, Hannun, Ng 2013, "Rectifier nonlinearities improve neural network acoustic
    models", where the slope is 0.01. The slope 0.2 is from Frans 2016.
    """
    return np.where(a.real > 0, a, LEAKY_SLOPE * a)


@backward_of(leaky_relu_forward, wrt=("a",))
def leaky_relu_backward(dh, h):
    """da = dh where h > 0, else 0.2 dh;  h > 0 exactly where a > 0"""
    return np.where(h.real > 0, dh, LEAKY_SLOPE * dh)


def identity_forward(a):
    """(E27)  h = a

    a (B, m) -> h (B, m): for an output that may be any number.
    Source: Bishop 2006, "Pattern Recognition and Machine Learning", section 5.2.
    """
    return a


@backward_of(identity_forward, wrt=("a",))
def identity_backward(dh, h):
    """da = dh"""
    return dh


def stop_gradient_forward(a):
    """h = a, but h counts as a constant: used where no gradient must pass."""
    return a


@backward_of(stop_gradient_forward, wrt=())
def stop_gradient_backward(dh, h):
    """da = 0: on purpose not the derivative of the forward"""
    return np.zeros_like(dh)


def softmax_forward(logits):
    """(E6)  p_k = exp(logit_k) / Σ_l exp(logit_l)

    logits (B, K) -> probs (B, K); each row is a probability distribution.
    Source: Bridle 1990, "Probabilistic interpretation of feedforward classification network
    outputs".
    """
    # Subtracting the same number from all logits of a row changes nothing. With the largest one
    # at 0, exp cannot overflow.
    shifted = logits - np.max(logits.real, axis=1, keepdims=True)
    e = np.exp(shifted)
    return e / np.sum(e, axis=1, keepdims=True)


@backward_of(softmax_forward, wrt=("logits",))
def softmax_backward(dprobs, probs):
    """dlogit_k = p_k (dp_k − Σ_l dp_l p_l),  because ∂p_l / ∂logit_k = p_l ([k = l] − p_k)"""
    mean = np.sum(dprobs * probs, axis=1, keepdims=True)  # of dprobs, weighted by probs
    return probs * (dprobs - mean)
