"""The distributions: sampling, KL divergence and negative log-likelihoods, each with its gradient.

An encoder maps an image x to the mean and the variance of a normal distribution q(z|x) of a code z.
A decoder maps a sample of z to a distribution p(x|z) of images. Training makes nll + kl small:
nll = −log p(x|z), and kl = KL[q(z|x) ‖ N(0, I)] measures how far q(z|x) is from N(0, I). The mean
of nll + kl over z is an upper bound of −log p(x); its negative is the evidence lower bound (ELBO).
An optional classifier predicts the class of x, and the decoder reads its probabilities beside z;
ce, its cross-entropy, is −log of the probability of the right class.

Each of these terms has one value per example, shape (B,), in nats (natural logarithms). The
functions sum over pixels or latent dimensions; only batch_mean takes the mean over the batch.
B examples, D pixels, J latent dimensions, K classes.
"""

import math
from typing import Any

import numpy as np

from .layers import backward_of

LOG_2PI = math.log(2 * math.pi)


def variance_forward(log_var, var_floor):
    """(E7)  var = var_floor + exp(log_var)

    log_var (B, J) -> var (B, J). The name log_var is exact only if var_floor is 0.
    Source: Zeldes 2018, "Variational Autoencoders Explained in Detail" (the floor 1e-5).
    """
    return var_floor + np.exp(log_var)


@backward_of(variance_forward, wrt=("log_var",))
def variance_backward(dvar, log_var):
    """dlog_var = dvar · exp(log_var):  not dvar · var, because the floor is a constant"""
    return dvar * np.exp(log_var)  # computed again, because var − var_floor would lose digits


def reparameterize_forward(mu, var, eps):
    """(E8)  z = μ + σ ε,  σ = √var

    mu, var, eps (B, J) -> z (B, J). If eps is a sample of N(0, I), then z is one of N(mu, var).
    Written in this way, z has derivatives with respect to mu and var.
    Source: Kingma, Welling 2014, "Auto-Encoding Variational Bayes", section 2.4.
    """
    std = np.sqrt(var)
    return mu + std * eps


@backward_of(reparameterize_forward, wrt=("mu", "var"))
def reparameterize_backward(dz, var, eps):
    """dmu = dz,  dvar = dz · ε / (2 σ),  because dσ/dvar = 1 / (2 σ)"""
    std = np.sqrt(var)
    dvar = dz * eps / (2 * std)
    return dz, dvar


def gaussian_kl_forward(mu, var):
    """(E9)  KL[N(μ, var) ‖ N(0, I)] = ½ Σ_j (μ_j² + var_j − log(var_j) − 1)

    mu, var (B, J) -> kl (B,), nats.
    Source: Kingma, Welling 2014, appendix B.
    """
    # Near var = 1, (var − 1) − log(var) is tiny; there var − 1 is exact, and few digits are lost.
    return 0.5 * np.sum(mu * mu + ((var - 1) - np.log(var)), axis=1)


@backward_of(gaussian_kl_forward, wrt=("mu", "var"))
def gaussian_kl_backward(dkl, mu, var):
    """dmu = dkl · μ,  dvar = dkl · ½ (1 − 1 / var)"""
    dkl = dkl.reshape(-1, 1)
    dmu = dkl * mu
    dvar = dkl * 0.5 * (1 - 1 / var)
    return dmu, dvar


def squared_error_forward(x, mean):
    """(E10)  sse = Σ_d (x_d − mean_d)²

    x, mean (B, D) -> sse (B,).
    Source: Legendre 1805, "Nouvelles méthodes pour la détermination des orbites des comètes".
    """
    error = x - mean
    return np.sum(error * error, axis=1)


@backward_of(squared_error_forward, wrt=("mean",))
def squared_error_backward(dsse, x, mean):
    """dmean = 2 dsse (mean − x)"""
    return 2 * dsse.reshape(-1, 1) * (mean - x)


def isotropic_nll_forward(sse, var, D):
    """(E11)  −log N(x; mean, var I) = sse / (2 var) + D/2 log(2π var),  sse = Σ_d (x_d − mean_d)²

    sse (B,); var and D are numbers, the same for every example -> nll (B,), nats.
    Source: Zeldes 2018; it is (E12) with one fixed variance.
    """
    return sse / (2 * var) + D / 2 * math.log(2 * math.pi * var)


@backward_of(isotropic_nll_forward, wrt=("sse",))
def isotropic_nll_backward(dnll, var):
    """dsse = dnll / (2 var)"""
    return dnll / (2 * var)


def gaussian_nll_forward(x, mean, var):
    """(E12)  −log N(x; mean, var) = ½ Σ_d ((x_d − mean_d)² / var_d + log(var_d) + log(2π))

    x, mean, var (B, D) -> nll (B,), nats.
    Source: Kingma, Welling 2014, appendix C.2.
    """
    error = x - mean
    return 0.5 * np.sum(error * error / var + np.log(var) + LOG_2PI, axis=1)


@backward_of(gaussian_nll_forward, wrt=("mean", "var"))
def gaussian_nll_backward(dnll, x, mean, var):
    """dmean = dnll (mean − x) / var,  dvar = dnll · ½ (1 − (mean − x)² / var) / var"""
    dnll = dnll.reshape(-1, 1)
    error = mean - x
    dmean = dnll * error / var
    # Two divisions, because var² would leave the range of float32 long before the quotient does.
    dvar = dnll * 0.5 * (1 - error * error / var) / var
    return dmean, dvar


def bernoulli_nll_forward(x, logits):
    """(E13)  −log p(x) = Σ_d −x_d log p_d − (1 − x_d) log(1 − p_d) = Σ_d log(1 + exp a_d) − x_d a_d

    because log p = a − log(1 + exp a) and log(1 − p) = −log(1 + exp a), with a = logits.
    x (B, D) in [0, 1], logits (B, D) -> nll (B,), nats; for grey pixels it is a cross-entropy, not
    the negative logarithm of a density.
    Source: Kingma, Welling 2014, appendix C.1.
    """
    # log(1 + exp a) = m + log(1 + exp(−|a|)) with m = max(a, 0): here exp cannot overflow. −|a| is
    # written as a − 2m, because |a| has no complex step.
    m = np.maximum(logits, 0)
    softplus = m + np.log1p(np.exp(logits - 2 * m))
    return np.sum(softplus - x * logits, axis=1)


@backward_of(bernoulli_nll_forward, wrt=("logits",))
def bernoulli_nll_backward(dnll, x, probs):
    """dlogits = dnll (p − x),  p = sigmoid(logits), with its derivative included"""
    return dnll.reshape(-1, 1) * (probs - x)


def categorical_nll_forward(logits, y):
    """(E14)  −log p(y) = −Σ_k y_k log p_k,  log p_k = logit_k − log Σ_l exp(logit_l)

    logits, y (B, K) -> ce (B,), nats. y holds one-hot rows. A row of zeros means that the label is
    missing, and costs 0.
    Source: Bishop 2006, "Pattern Recognition and Machine Learning", section 4.3.4.
    """
    shifted = logits - np.max(logits.real, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.sum(y * log_probs, axis=1)


@backward_of(categorical_nll_forward, wrt=("logits",))
def categorical_nll_backward(dce, probs, y):
    """dlogits = dce (p Σ_k y_k − y),  p = softmax(logits), with its derivative included"""
    return dce.reshape(-1, 1) * (probs * np.sum(y, axis=1, keepdims=True) - y)


def batch_mean_forward(cost):
    """(E28)  loss = 1/B Σ_i cost_i

    cost (B,) -> loss, one number; nats.
    Source: Robbins, Monro 1951, "A Stochastic Approximation Method": the mean over a random batch
    estimates the mean over all examples.
    """
    return np.mean(cost)


@backward_of(batch_mean_forward, wrt=("cost",))
def batch_mean_backward(dloss, cost):
    """dcost_i = dloss / B"""
    return np.full_like(cost, dloss / len(cost))


class Likelihood:
    """p(x|z): from the outputs of the decoder's heads to −log p(x|z).

    A head is a linear layer on the decoder's last hidden layer; `heads` has their names, and *heads
    stands for their outputs, (B, D) each. `ops` holds the functions of this file and of layers.py,
    or faster ones with the same names. A likelihood has the methods

        forward(x, *heads) -> mean, var, sse, nll      sse is only reported
        backward(dnll, x, mean, var, *heads) -> a list with the gradient of each head
    """

    heads: tuple[str, ...] = ("out",)
    forward: Any
    backward: Any

    def __init__(self, config, ops):
        self.ops = ops
        self.config = config
        self.output_forward = getattr(ops, f"{config.decoder_output}_forward")
        self.output_backward = getattr(ops, f"{config.decoder_output}_backward")

    def mean(self, out, *others):
        """The mean of p(x|z), (B, D)."""
        return self.output_forward(out)

    def nll(self, x, *heads):
        """−log p(x|z), (B,), nats."""
        return self.forward(x, *heads)[-1]


class Gaussian(Likelihood):
    """p(x|z) = N(mean, decoder_std² I): the squared error, scaled."""

    def forward(self, x, out):
        mean = self.output_forward(out)
        var = self.config.decoder_std**2
        sse = self.ops.squared_error_forward(x, mean)
        nll = self.ops.isotropic_nll_forward(sse, var, x.shape[1])
        return mean, var, sse, nll

    def backward(self, dnll, x, mean, var, out):
        dsse = self.ops.isotropic_nll_backward(dnll, var)
        dmean = self.ops.squared_error_backward(dsse, x, mean)
        dout = self.output_backward(dmean, mean)
        return [dout]


class GaussianLearned(Likelihood):
    """p(x|z) = N(mean, var): a second head gives each pixel's variance."""

    heads = ("out", "log_var")

    def forward(self, x, out, log_var):
        mean = self.output_forward(out)
        var = self.ops.variance_forward(log_var, self.config.var_floor)
        sse = self.ops.squared_error_forward(x, mean)
        nll = self.ops.gaussian_nll_forward(x, mean, var)
        return mean, var, sse, nll

    def backward(self, dnll, x, mean, var, out, log_var):
        dmean, dvar = self.ops.gaussian_nll_backward(dnll, x, mean, var)
        dlog_var = self.ops.variance_backward(dvar, log_var)
        dout = self.output_backward(dmean, mean)
        return [dout, dlog_var]


class Bernoulli(Likelihood):
    """p(x|z) = Π_d Bernoulli(x_d; mean_d), mean = sigmoid(out); there is no separate variance."""

    def mean(self, out):
        return self.ops.sigmoid_forward(out)

    def nll(self, x, out):
        return self.ops.bernoulli_nll_forward(x, out)

    def forward(self, x, out):
        mean = self.ops.sigmoid_forward(out)
        sse = self.ops.squared_error_forward(x, mean)
        nll = self.ops.bernoulli_nll_forward(x, out)
        return mean, None, sse, nll

    def backward(self, dnll, x, mean, var, out):
        # nll was computed from `out`, so its gradient does not pass through the sigmoid.
        dout = self.ops.bernoulli_nll_backward(dnll, x, mean)
        return [dout]


class Elbo:
    """forward(cost) -> loss, backward(dloss, cost) -> dcost: the mean over the examples."""

    def __init__(self, config, ops):
        self.forward = ops.batch_mean_forward
        self.backward = ops.batch_mean_backward


LIKELIHOODS = {"gaussian": Gaussian, "gaussian_learned": GaussianLearned, "bernoulli": Bernoulli}
BOUNDS: dict[str, type] = {"elbo": Elbo}
