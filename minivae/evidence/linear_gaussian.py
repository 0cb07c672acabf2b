"""The linear decoder with Gaussian noise, for which everything is known in closed form.

    z ~ N(0, I),  x = z W + b + noise,  noise ~ N(0, σ² I);  W (J, D), b (D,), var = σ²

All its distributions are Gaussian, and maximum likelihood gives W (probabilistic PCA, pPCA).
Bounds and estimates of a linear VAE are compared with it. Computed in float64.
"""

import math

import numpy as np

from ..checks import as_rows
from ..config import VAEConfig
from ..distributions import LOG_2PI
from ..errors import ConfigError
from ..training import minibatches
from ..vae import VAE


class LinearGaussian:
    """p(z) = N(0, I),  p(x|z) = N(z W + b, var I)."""

    def __init__(self, W, b, var):
        self.W, self.b, self.var = np.asarray(W, np.float64), np.asarray(b, np.float64), float(var)
        if not 0 < self.var < math.inf:
            raise ConfigError(f"var={var}: a finite number above 0")
        self.M = self.W @ self.W.T + self.var * np.eye(len(self.W))  # J × J, instead of D × D

    def log_p(self, x):
        """(E22)  log p(x) = log N(x; b, C),  C = WᵀW + σ² I

        x (n, D) -> (n,), nats. With M = WWᵀ + σ² I (J × J), by Woodbury's identity and Sylvester's,
            C⁻¹ = (I − Wᵀ M⁻¹ W) / σ²,  log det C = log det M + (D − J) log σ².
        Source: Tipping, Bishop 1999, "Probabilistic Principal Component Analysis", equation 4.
        """
        J, D = self.W.shape
        error = as_rows("x", x, (None, D), np.float64) - self.b
        projected = error @ self.W.T
        explained = np.sum(projected * np.linalg.solve(self.M, projected.T).T, axis=1)
        distance = (np.sum(error * error, axis=1) - explained) / self.var
        log_det = np.linalg.slogdet(self.M)[1] + (D - J) * math.log(self.var)
        return -0.5 * (distance + log_det + D * LOG_2PI)

    def posterior(self, x):
        """(E23)  p(z|x) = N(z; (x − b) Wᵀ M⁻¹, σ² M⁻¹),  M = WWᵀ + σ² I

        x (n, D) -> mean (n, J), covariance (J, J), the same for every x.
        Source: Tipping, Bishop 1999, equation 6.
        """
        error = as_rows("x", x, (None, self.W.shape[1]), np.float64) - self.b
        mean = np.linalg.solve(self.M, self.W @ error.T).T
        return mean, self.var * np.linalg.inv(self.M)

    def to_vae(self) -> VAE:
        """The same p(x, z) as a linear VAE in float64, q(z|x) the exact posterior: −ELBO = −log p.

        The rows of W must be orthogonal, as pPCA's are, because q has no covariances.
        """
        J, D = self.W.shape
        diagonal = np.diag(self.M)
        correlation = self.M / np.sqrt(np.outer(diagonal, diagonal))
        if np.max(np.abs(correlation - np.eye(J))) > 1e-9:
            raise ConfigError("the rows of W are not orthogonal: no diagonal q is the posterior")
        config = VAEConfig(
            data_dim=D, latent_dim=J, encoder_layers=(), decoder_layers=(), num_classes=0,
            decoder_std=math.sqrt(self.var), decoder_output="identity", var_floor=0.0,
        )  # fmt: skip
        vae = VAE(config, dtype="float64")
        vae.theta[:] = 0
        params = vae.parameters()
        params["decoder.out.W"][...] = self.W
        params["decoder.out.b"][...] = self.b
        params["encoder.mu.W"][...] = self.W.T / diagonal
        params["encoder.mu.b"][...] = -self.b @ params["encoder.mu.W"]
        params["encoder.log_var.b"][...] = np.log(self.var / diagonal)
        return vae


def from_vae(vae: VAE) -> LinearGaussian:
    """p(x, z) of a linear VAE: its decoder without hidden layers, identity output, no classes."""
    config = vae.config
    found = (config.likelihood, config.decoder_output, config.decoder_layers, config.num_classes)
    if found != ("gaussian", "identity", (), 0):
        raise ConfigError(
            "not a linear Gaussian model: that is likelihood='gaussian', "
            "decoder_output='identity', decoder_layers=(), num_classes=0"
        )
    params = vae.parameters()
    return LinearGaussian(params["decoder.out.W"], params["decoder.out.b"], config.decoder_std**2)


def principal_axes(x):
    """x (N, D) -> the variances along its principal axes (D,), the largest first, with 1/N; the
    axes, columns of (D, D); and the mean (D,)."""
    mean = np.mean(x, axis=0, dtype=np.float64)
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for rows in minibatches(x, 10_000):  # a float64 copy of all of x would be large
        error = rows - mean
        covariance += error.T @ error
    values, vectors = np.linalg.eigh(covariance / len(x))
    return np.maximum(values[::-1], 0), vectors[:, ::-1], mean


def ppca(x, latent_dim, var=None):
    """(E24)  W = (Λ − σ² I)^½ Uᵀ,  b = the mean of x;  σ² = the mean of the other eigenvalues

    x (N, D) -> W (J, D), b (D,), var, J = latent_dim: the maximum of its likelihood. Λ and U are
    the J largest eigenvalues and their eigenvectors of x's covariance. If var = σ² is given, rows
    of W whose eigenvalue is below it are 0. LinearGaussian(*ppca(x, J)) is the model.
    Source: Tipping, Bishop 1999, equations 7 and 8.
    """
    most = x.shape[1] - (var is None)  # a free var needs a dimension to be measured in
    if not 1 <= latent_dim <= most or (var is not None and not var > 0):
        raise ConfigError(f"latent_dim={latent_dim}, var={var}: from 1 to {most}, above 0")
    values, vectors, mean = principal_axes(x)
    var = np.mean(values[latent_dim:]) if var is None else var
    W = np.sqrt(np.maximum(values[:latent_dim] - var, 0))[:, None] * vectors[:, :latent_dim].T
    return W, mean, float(var)


def surviving_dimensions(eigenvalues, var):
    """How many dimensions a linear VAE can use under the noise σ² = var: eigenvalues above it.

    Source: Lucas, Tucker, Grosse, Norouzi 2019, "Don't Blame the ELBO! A Linear VAE Perspective on
    Posterior Collapse".
    """
    return int(np.sum(np.asarray(eigenvalues) > var))
