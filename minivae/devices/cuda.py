"""The functions of the lesson for an NVIDIA GPU, where one kernel does what takes NumPy several.

On a GPU each operation on an array is a launch of a kernel, and with small batches a step consists
of waiting for launches. The text in quotes is CUDA C++, which CuPy compiles at the first call; T is
the dtype of the arrays. Sums over the D or J numbers of a row are CuPy's reductions; sums over the
K classes are made by one thread per row. A function that is one launch anyway, or mainly matrix
products, is not here.
"""

import functools
import inspect
import math

import numpy as np

from .readable import *  # noqa: F403
from .readable import LEAKY_SLOPE, LOG_2PI


@functools.cache
def elementwise(name, inputs, outputs, body):
    import cupy

    return cupy.ElementwiseKernel(inputs, outputs, body, f"minivae_{name}")


@functools.cache
def row_sum(name, inputs, output, term, result):
    import cupy

    kernel = cupy.ReductionKernel(
        inputs, output, term, "a + b", f"{output.split()[1]} = {result}", "0", f"minivae_{name}"
    )
    return functools.partial(kernel, axis=1)


def fused(*kernel, make=elementwise):
    """A function of the inputs that is one kernel, which is compiled at the first call. Where the
    first input has one number per row, the others a row of numbers, it becomes a column."""

    def run(*args, **kwargs):
        first, *others = *args, *kwargs.values()
        if others and first.ndim < getattr(others[0], "ndim", 0):
            first = first.reshape(-1, 1)
        return make(*kernel)(first, *others)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [declared.split()[1] for declared in kernel[1].split(", ")]
    parameters = [inspect.Parameter(name, kind) for name in names]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def summed(name, inputs, output, term, result="a"):
    """As fused: the sum of the term over each row; `result` says what becomes of the sum, a."""
    return fused(name, inputs, output, term, result, make=row_sum)


sigmoid_forward = fused("sigmoid", "T a", "T h", "h = T(0.5) + T(0.5) * tanh(T(0.5) * a)")
sigmoid_backward = fused("dsigmoid", "T dh, T h", "T da", "da = dh * h * (1 - h)")
tanh_backward = fused("dtanh", "T dh, T h", "T da", "da = dh * (1 - h * h)")
relu_forward = fused("relu", "T a", "T h", "h = a <= 0 ? T(0) : a")
relu_backward = fused("drelu", "T dh, T h", "T da", "da = h > 0 ? dh : T(0)")
slope = f"T({LEAKY_SLOPE})"
leaky_relu_forward = fused("leaky_relu", "T a", "T h", f"h = a > 0 ? a : {slope} * a")
leaky_relu_backward = fused("dleaky_relu", "T dh, T h", "T da", f"da = h > 0 ? dh : {slope} * dh")
body = "var = var_floor + exp(log_var)"
variance_forward = fused("variance", "T log_var, T var_floor", "T var", body)
body = "dlog_var = dvar * exp(log_var)"
variance_backward = fused("dvariance", "T dvar, T log_var", "T dlog_var", body)
body = "z = mu + sqrt(var) * eps"
reparameterize_forward = fused("reparameterize", "T mu, T var, T eps", "T z", body)
term = "mu * mu + ((var - 1) - log(var))"
gaussian_kl_forward = summed("gaussian_kl", "T mu, T var", "T kl", term, "T(0.5) * a")
body = "dmu = dkl * mu; dvar = dkl * T(0.5) * (1 - 1 / var)"
gaussian_kl_backward = fused("dgaussian_kl", "T dkl, T mu, T var", "T dmu, T dvar", body)
term = "(x - mean) * (x - mean)"
squared_error_forward = summed("squared_error", "T x, T mean", "T sse", term)
body = "dmean = 2 * dsse * (mean - x)"
squared_error_backward = fused("dsquared_error", "T dsse, T x, T mean", "T dmean", body)
term = f"(x - mean) * (x - mean) / var + log(var) + T({LOG_2PI!r})"
gaussian_nll_forward = summed("gaussian_nll", "T x, T mean, T var", "T nll", term, "T(0.5) * a")
body = """
    T error = mean - x;
    dmean = dnll * error / var;
    dvar = dnll * T(0.5) * (1 - error * error / var) / var;
"""
inputs = "T dnll, T x, T mean, T var"
gaussian_nll_backward = fused("dgaussian_nll", inputs, "T dmean, T dvar", body)
term = "max(logits, T(0)) + log1p(exp(-abs(logits))) - x * logits"
bernoulli_nll_forward = summed("bernoulli_nll", "T x, T logits", "T nll", term)
body = "dlogits = dnll * (probs - x)"
bernoulli_nll_backward = fused("dbernoulli_nll", "T dnll, T x, T probs", "T dlogits", body)


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


def reparameterize_backward(dz, var, eps):
    body = "dvar = dz * eps / (2 * sqrt(var))"
    kernel = elementwise("dreparameterize", "T dz, T var, T eps", "T dvar", body)
    return dz, kernel(dz, var, eps)


def isotropic_nll_forward(sse, var, D):
    constant = D / 2 * math.log(2 * math.pi * var)
    kernel = elementwise("isotropic_nll", "T sse, T var, T c", "T nll", "nll = sse / (2 * var) + c")
    return kernel(sse, var, constant)


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


def adam_update(theta, dtheta, m, v, t, lr, beta1, beta2, eps):
    # With c = √(1 − β₂ᵗ), m̂ / (√v̂ + ε) = m c / ((1 − β₁ᵗ) (√v + ε c)). 1 − β₂ is computed here,
    # because in float32 it would have only four digits.
    c = math.sqrt(1 - beta2**t)
    body = """
        m = beta1 * m + rest1 * g;
        v = beta2 * v + rest2 * g * g;
        theta -= rate * m / (sqrt(v) + eps);
    """
    inputs = "T g, T beta1, T rest1, T beta2, T rest2, T eps, T rate"
    kernel = elementwise("adam", inputs, "T theta, T m, T v", body)
    numbers = beta1, 1 - beta1, beta2, 1 - beta2, eps * c, lr * c / (1 - beta1**t)
    kernel(dtheta, *numbers, theta, m, v)
