"""The distributions: sampling, divergence and negative log-densities, each with its gradient.

Every loss comes back as one value an example, shape (B,), in nats: summed over dimensions here,
averaged over the batch once, in the model. B examples, D pixels, J latent dimensions, K classes.
"""

import math

import numpy as np

LOG_2PI = math.log(2 * math.pi)


def variance_forward(log_var, var_floor):
    """(E7)  var = var_floor + exp(log_var)

    log_var (B, J) -> var (B, J). log_var is log σ² only where the floor is 0; it is never log σ.
    Source: Zeldes 2018, "Variational Autoencoders Explained in Detail" (the floor 1e-5).
    """
    return var_floor + np.exp(log_var)


def variance_backward(dvar, log_var):
    """dlog_var = dvar · exp(log_var):  not dvar · var, for the floor has no slope"""
    return dvar * np.exp(log_var)  # recomputed: var − var_floor would lose its digits


def reparameterize_forward(mu, var, eps):
    """(E8)  z = μ + σ ε,  σ = √var

    mu, var, eps (B, J) -> z (B, J), a sample of N(mu, var) where eps is one of N(0, 1).
    Source: Kingma, Welling 2014, "Auto-Encoding Variational Bayes", section 2.4.
    """
    std = np.sqrt(var)
    return mu + std * eps


def reparameterize_backward(dz, var, eps):
    """dmu = dz,  dvar = dz · ε / (2 σ),  for dσ/dvar = 1 / (2 σ)"""
    std = np.sqrt(var)  # recomputed: (B, J) is small
    dvar = dz * eps / (2 * std)
    return dz, dvar


def gaussian_kl_forward(mu, var):
    """(E9)  KL[N(μ, var) ‖ N(0, I)] = ½ Σ_j (μ_j² + var_j − log(var_j) − 1)

    mu, var (B, J) -> kl (B,), nats.
    Source: Kingma, Welling 2014, appendix B.
    """
    # var − 1 first: it is exact near var = 1, where (var − 1) − log(var) is as small as (var − 1)².
    return 0.5 * np.sum(mu * mu + ((var - 1) - np.log(var)), axis=1)


def gaussian_kl_backward(dkl, mu, var):
    """dmu = dkl · μ,  dvar = dkl · ½ (1 − 1 / var)"""
    dkl = dkl.reshape(-1, 1)
    dmu = dkl * mu
    dvar = dkl * 0.5 * (1 - 1 / var)
    return dmu, dvar


def squared_error_forward(x, mu):
    """(E10)  sse = Σ_d (x_d − μ_d)²

    x, mu (B, D) -> sse (B,).
    Source: Legendre 1805, "Nouvelles méthodes pour la détermination des orbites des comètes".
    """
    error = x - mu
    return np.einsum("bd,bd->b", error, error)  # a product and its sum in one pass


def squared_error_backward(dsse, x, mu):
    """dmu = 2 dsse (μ − x)"""
    dmu = mu - x
    dmu *= 2 * dsse.reshape(-1, 1)
    return dmu


def isotropic_nll_forward(sse, var, D):
    """(E11)  −log N(x; μ, var I) = sse / (2 var) + D/2 log(2π var),  sse = Σ_d (x_d − μ_d)²

    sse (B,); var and D numbers, the same for every example -> nll (B,), nats.
    Source: Zeldes 2018; (E12) with one fixed variance.
    """
    return sse / (2 * var) + D / 2 * math.log(2 * math.pi * var)


def isotropic_nll_backward(dnll, var):
    """dsse = dnll / (2 var)"""
    return dnll / (2 * var)


def gaussian_nll_forward(x, mu, var):
    """(E12)  −log N(x; μ, var) = ½ Σ_d ((x_d − μ_d)² / var_d + log(var_d) + log(2π))

    x, mu, var (B, D) -> nll (B,), nats.
    Source: Kingma, Welling 2014, appendix C.2.
    """
    error = x - mu
    return 0.5 * np.sum(error * error / var + np.log(var) + LOG_2PI, axis=1)


def gaussian_nll_backward(dnll, x, mu, var):
    """dmu = dnll (μ − x) / var,  dvar = dnll · ½ (1 − (μ − x)² / var) / var"""
    dnll = dnll.reshape(-1, 1)
    error = mu - x
    dmu = dnll * error / var
    # Divided twice: var² would leave the range of float32 long before the quotient does.
    dvar = dnll * 0.5 * (1 - error * error / var) / var
    return dmu, dvar


def bernoulli_nll_forward(x, logits):
    """(E13)  −log p(x) = Σ_d −x_d log p_d − (1 − x_d) log(1 − p_d) = Σ_d log(1 + exp a_d) − x_d a_d

    for log p = a − log(1 + exp a) and log(1 − p) = −log(1 + exp a), a = logits. x in [0, 1] and
    logits (B, D) -> nll (B,), nats; of a grey x a cross-entropy, not a density.
    Source: Kingma, Welling 2014, appendix C.1.
    """
    # log(1 + exp a) = m + log(1 + exp(−|a|)), m = max(a, 0): exp never overflows. −|a| is written
    # a − 2m, for |a| has no complex step.
    m = np.maximum(logits, 0)
    nll = logits - 2 * m
    np.exp(nll, out=nll)  # in place, as all below: each new array of B · D numbers costs as much
    np.log1p(nll, out=nll)
    nll += m
    nll -= x * logits
    return np.sum(nll, axis=1)


def bernoulli_nll_backward(dnll, x, probs):
    """dlogits = dnll (p − x),  the whole way to logits, probs p = sigmoid(logits)"""
    return dnll.reshape(-1, 1) * (probs - x)


def categorical_nll_forward(logits, y):
    """(E14)  −log p(y) = −Σ_k y_k log p_k,  log p_k = logit_k − log Σ_l exp(logit_l)

    logits, y (B, K) -> ce (B,), nats. y holds one-hot rows; a row of zeros, no label, costs 0.
    Source: Bishop 2006, "Pattern Recognition and Machine Learning", section 4.3.4.
    """
    shifted = logits - np.max(logits.real, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.sum(y * log_probs, axis=1)


def categorical_nll_backward(dce, probs, y):
    """dlogits = dce (p Σ_k y_k − y),  the whole way to logits, probs p = softmax(logits)"""
    return dce.reshape(-1, 1) * (probs * np.sum(y, axis=1, keepdims=True) - y)


# p(x|z), chosen by name when a model is made. A head is a linear layer on the decoder's last hidden
# layer; *heads below are the outputs of those layers.
#     forward(x, *heads) -> mean, var, sse, nll     the loss reads nll; sse is for the record
#     backward(dnll, x, mean, var, *heads) -> [a gradient for each head]
# One signature for all three, so that the model need not know which it has; `output` is the Pair
# that turns the head "out" into the mean, and `ops` the functions above, or their twins on a GPU.


class Gaussian:
    """p(x|z) = N(mean, decoder_std² I): the squared error, scaled."""

    heads = ("out",)

    def __init__(self, config, ops):
        self.ops = ops
        self.output = ops.OUTPUT_PAIRS[config.decoder_output]
        self.var = config.decoder_std**2

    def forward(self, x, out):
        mean = self.output.forward(out)
        sse = self.ops.squared_error_forward(x, mean)
        nll = self.ops.isotropic_nll_forward(sse, self.var, x.shape[1])
        return mean, self.var, sse, nll

    def backward(self, dnll, x, mean, var, out):
        dsse = self.ops.isotropic_nll_backward(dnll, var)
        dmean = self.ops.squared_error_backward(dsse, x, mean)
        dout = self.output.backward(dmean, mean)
        return [dout]


class GaussianLearned:
    """p(x|z) = N(mean, var), each pixel's variance from a second head."""

    heads = ("out", "log_var")

    def __init__(self, config, ops):
        self.ops = ops
        self.output = ops.OUTPUT_PAIRS[config.decoder_output]
        self.var_floor = config.var_floor

    def forward(self, x, out, log_var):
        mean = self.output.forward(out)
        var = self.ops.variance_forward(log_var, self.var_floor)
        sse = self.ops.squared_error_forward(x, mean)
        nll = self.ops.gaussian_nll_forward(x, mean, var)
        return mean, var, sse, nll

    def backward(self, dnll, x, mean, var, out, log_var):
        dmean, dvar = self.ops.gaussian_nll_backward(dnll, x, mean, var)
        dlog_var = self.ops.variance_backward(dvar, log_var)
        dout = self.output.backward(dmean, mean)
        return [dout, dlog_var]


class Bernoulli:
    """p(x|z) = Π_d Bernoulli(x_d; mean_d), mean = sigmoid(out); it has no variance of its own."""

    heads = ("out",)

    def __init__(self, config, ops):
        self.ops = ops
        self.output = ops.OUTPUT_PAIRS["sigmoid"]

    def forward(self, x, out):
        mean = self.output.forward(out)
        sse = self.ops.squared_error_forward(x, mean)
        nll = self.ops.bernoulli_nll_forward(x, out)
        return mean, None, sse, nll

    def backward(self, dnll, x, mean, var, out):
        # forward gave nll the logits `out`, not mean: no path leads through self.output.
        dout = self.ops.bernoulli_nll_backward(dnll, x, mean)
        return [dout]


LIKELIHOODS: dict[str, type] = {
    "gaussian": Gaussian,
    "gaussian_learned": GaussianLearned,
    "bernoulli": Bernoulli,
}
