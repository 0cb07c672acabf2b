"""Fused twins for the GPU: what a readable function of layers.py, distributions.py or optim.py does
in several launches, done in one, under the same name and signature.

There each operation on an array is a launch, and at small batches a step waits for nothing else.
The text in quotes is CUDA C++, which CuPy compiles at the first call; T is the arrays' type. Sums
over D or J numbers a row are CuPy's reductions; over the K classes, a row's single thread makes
them. What is one launch, or matrix products, has no twin.
"""

import functools
import inspect
import math
from types import SimpleNamespace

import numpy as np

from . import distributions, layers
from .layers import LEAKY_SLOPE, Pair


def functions(device, dtype):
    """Those of layers.py and distributions.py by name; for real numbers on the GPU, their twins."""
    named = {
        name: thing
        for module in (layers, distributions)
        for name, thing in vars(module).items()
        if inspect.isfunction(thing) or name in ("ACTIVATION_PAIRS", "OUTPUT_PAIRS", "LIKELIHOODS")
    }
    if device == "gpu" and np.dtype(dtype).kind == "f":
        named |= {name: twin for name, twin in globals().items() if name in named}
        pairs = {
            name: Pair(named[f"{name}_forward"], named[f"{name}_backward"])
            for name in layers.ACTIVATION_PAIRS
        }
        named["ACTIVATION_PAIRS"] = pairs
        named["OUTPUT_PAIRS"] = layers.OUTPUT_PAIRS | {"sigmoid": pairs["sigmoid"]}
    return SimpleNamespace(**named)


def twin(function, like):
    """The function for arrays such as like: itself, or for real numbers on the GPU its twin."""
    if isinstance(like, np.ndarray) or like.dtype.kind != "f":
        return function
    return globals()[function.__name__]


@functools.cache
def elementwise(name, inputs, outputs, body):
    import cupy

    return cupy.ElementwiseKernel(inputs, outputs, body, f"minivae_{name}")


@functools.cache
def row_sum(name, inputs, output, term, result="a"):
    """The sum of the term over each row; the result says what becomes of it, a."""
    import cupy

    kernel = cupy.ReductionKernel(
        inputs, f"T {output}", term, "a + b", f"{output} = {result}", "0", f"minivae_{name}"
    )
    return functools.partial(kernel, axis=1)


def sigmoid_forward(a):
    return elementwise("sigmoid", "T a", "T h", "h = T(0.5) + T(0.5) * tanh(T(0.5) * a)")(a)


def sigmoid_backward(dh, h):
    return elementwise("dsigmoid", "T dh, T h", "T da", "da = dh * h * (1 - h)")(dh, h)


def tanh_backward(dh, h):
    return elementwise("dtanh", "T dh, T h", "T da", "da = dh * (1 - h * h)")(dh, h)


def relu_forward(a):
    return elementwise("relu", "T a", "T h", "h = a * T(a > 0)")(a)


def relu_backward(dh, h):
    return elementwise("drelu", "T dh, T h", "T da", "da = dh * T(h > 0)")(dh, h)


def leaky_relu_forward(a):
    body = "h = a > 0 ? a : slope * a"
    return elementwise("leaky_relu", "T a, T slope", "T h", body)(a, LEAKY_SLOPE)


def leaky_relu_backward(dh, h):
    body = "da = h > 0 ? dh : slope * dh"
    return elementwise("dleaky_relu", "T dh, T h, T slope", "T da", body)(dh, h, LEAKY_SLOPE)


def softmax_forward(logits):
    probs, (B, K) = np.empty_like(logits), logits.shape
    body = """
        T largest = logits[i * K], total = 0;
        for (int k = 1; k < K; ++k) largest = max(largest, logits[i * K + k]);
        for (int k = 0; k < K; ++k) total += exp(logits[i * K + k] - largest);
        for (int k = 0; k < K; ++k) probs[i * K + k] = exp(logits[i * K + k] - largest) / total;
    """
    elementwise("softmax", "raw T logits, int32 K", "raw T probs", body)(logits, K, probs, size=B)
    return probs


def softmax_backward(dprobs, probs):
    dlogits, (B, K) = np.empty_like(probs), probs.shape
    body = """
        T expected = 0;
        for (int k = 0; k < K; ++k) expected += dprobs[i * K + k] * probs[i * K + k];
        for (int k = 0; k < K; ++k)
            dlogits[i * K + k] = probs[i * K + k] * (dprobs[i * K + k] - expected);
    """
    kernel = elementwise("dsoftmax", "raw T dprobs, raw T probs, int32 K", "raw T dlogits", body)
    kernel(dprobs, probs, K, dlogits, size=B)
    return dlogits


def variance_forward(log_var, var_floor):
    body = "var = var_floor + exp(log_var)"
    return elementwise("variance", "T log_var, T var_floor", "T var", body)(log_var, var_floor)


def variance_backward(dvar, log_var):
    body = "dlog_var = dvar * exp(log_var)"
    return elementwise("dvariance", "T dvar, T log_var", "T dlog_var", body)(dvar, log_var)


def reparameterize_forward(mu, var, eps):
    body = "z = mu + sqrt(var) * eps"
    return elementwise("reparameterize", "T mu, T var, T eps", "T z", body)(mu, var, eps)


def reparameterize_backward(dz, var, eps):
    body = "dvar = dz * eps / (2 * sqrt(var))"
    kernel = elementwise("dreparameterize", "T dz, T var, T eps", "T dvar", body)
    return dz, kernel(dz, var, eps)


def gaussian_kl_forward(mu, var):
    term = "mu * mu + ((var - 1) - log(var))"
    return row_sum("gaussian_kl", "T mu, T var", "kl", term, "T(0.5) * a")(mu, var)


def gaussian_kl_backward(dkl, mu, var):
    body = "dmu = dkl * mu; dvar = dkl * T(0.5) * (1 - 1 / var)"
    kernel = elementwise("dgaussian_kl", "T dkl, T mu, T var", "T dmu, T dvar", body)
    return kernel(dkl.reshape(-1, 1), mu, var)


def squared_error_forward(x, mu):
    return row_sum("squared_error", "T x, T mu", "sse", "(x - mu) * (x - mu)")(x, mu)


def squared_error_backward(dsse, x, mu):
    body = "dmu = 2 * dsse * (mu - x)"
    kernel = elementwise("dsquared_error", "T dsse, T x, T mu", "T dmu", body)
    return kernel(dsse.reshape(-1, 1), x, mu)


def isotropic_nll_forward(sse, var, D):
    constant = D / 2 * math.log(2 * math.pi * var)
    kernel = elementwise("isotropic_nll", "T sse, T var, T c", "T nll", "nll = sse / (2 * var) + c")
    return kernel(sse, var, constant)


def gaussian_nll_forward(x, mu, var):
    term = f"(x - mu) * (x - mu) / var + log(var) + T({distributions.LOG_2PI!r})"
    return row_sum("gaussian_nll", "T x, T mu, T var", "nll", term, "T(0.5) * a")(x, mu, var)


def gaussian_nll_backward(dnll, x, mu, var):
    body = """
        T error = mu - x;
        dmu = dnll * error / var;
        dvar = dnll * T(0.5) * (1 - error * error / var) / var;
    """
    kernel = elementwise("dgaussian_nll", "T dnll, T x, T mu, T var", "T dmu, T dvar", body)
    return kernel(dnll.reshape(-1, 1), x, mu, var)


def bernoulli_nll_forward(x, logits):
    term = "max(logits, T(0)) + log1p(exp(-abs(logits))) - x * logits"
    return row_sum("bernoulli_nll", "T x, T logits", "nll", term)(x, logits)


def bernoulli_nll_backward(dnll, x, probs):
    body = "dlogits = dnll * (probs - x)"
    kernel = elementwise("dbernoulli_nll", "T dnll, T x, T probs", "T dlogits", body)
    return kernel(dnll.reshape(-1, 1), x, probs)


def categorical_nll_forward(logits, y):
    ce, (B, K) = np.empty_like(logits[:, 0]), logits.shape
    body = """
        T largest = logits[i * K], total = 0, sum = 0;
        for (int k = 1; k < K; ++k) largest = max(largest, logits[i * K + k]);
        for (int k = 0; k < K; ++k) total += exp(logits[i * K + k] - largest);
        for (int k = 0; k < K; ++k)
            sum += y[i * K + k] * (logits[i * K + k] - largest - log(total));
        ce[i] = -sum;
    """
    kernel = elementwise("categorical_nll", "raw T logits, raw T y, int32 K", "raw T ce", body)
    kernel(logits, y, K, ce, size=B)
    return ce


def categorical_nll_backward(dce, probs, y):
    dlogits, (B, K) = np.empty_like(probs), probs.shape
    body = """
        T total = 0;
        for (int k = 0; k < K; ++k) total += y[i * K + k];
        for (int k = 0; k < K; ++k)
            dlogits[i * K + k] = dce[i] * (probs[i * K + k] * total - y[i * K + k]);
    """
    inputs = "raw T dce, raw T probs, raw T y, int32 K"
    kernel = elementwise("dcategorical_nll", inputs, "raw T dlogits", body)
    kernel(dce, probs, y, K, dlogits, size=B)
    return dlogits


def adam_update(theta, dtheta, G, S, scratch, beta1, beta2, eps, rate):
    body = """
        G = beta1 * G + g;
        S = beta2 * S + g * g;
        theta -= rate * G / (sqrt(S) + eps);
    """
    inputs, outputs = "T g, T beta1, T beta2, T eps, T rate", "T theta, T G, T S"
    kernel = elementwise("adam", inputs, outputs, body)
    kernel(dtheta, beta1, beta2, eps, rate, theta, G, S)
