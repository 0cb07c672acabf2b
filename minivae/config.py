"""The options of a model."""

from dataclasses import dataclass

import numpy as np

from .distributions import LIKELIHOODS
from .errors import ConfigError
from .layers import ACTIVATION_PAIRS, OUTPUT_PAIRS

LARGEST = 10**38  # float32 has no more


@dataclass(frozen=True)
class VAEConfig:
    """The model's options; the defaults are the model of Zeldes 2018.

    Layers are the widths of the hidden layers, () a linear network. Idle fields are ignored.
    """

    data_dim: int = 784
    latent_dim: int = 10
    encoder_layers: tuple[int, ...] = (128,)
    decoder_layers: tuple[int, ...] = (128,)
    activation: str = "sigmoid"
    likelihood: str = "gaussian"
    decoder_std: float = 0.5  # σ of p(x|z), where it is fixed: "gaussian"
    decoder_output: str = "sigmoid"  # from the decoder's last layer to the Gaussian's mean
    num_classes: int = 10  # 0: a plain VAE
    classifier_layers: tuple[int, ...] = (128,)
    classifier_weight: float = 10.0
    label_gradient: bool = True  # does the reconstruction's gradient reach the classifier?
    var_floor: float = 1e-5
    beta: float = 1.0  # the weight of the KL

    def __post_init__(self):
        checked = {
            "data_dim": integer("data_dim", self.data_dim, 1),
            "latent_dim": integer("latent_dim", self.latent_dim, 1),
            "num_classes": integer("num_classes", self.num_classes, 0),
        }
        for name in ("encoder_layers", "decoder_layers", "classifier_layers"):
            widths = getattr(self, name)
            if not isinstance(widths, (tuple, list)):
                raise ConfigError(f"{name}={widths!r}: a tuple of widths, () for a linear network")
            checked[name] = tuple(integer(name, width, 1) for width in widths)
        for name in ("decoder_std", "classifier_weight", "var_floor", "beta"):
            checked[name] = number(name, getattr(self, name))
        if not 1e-15 <= checked["decoder_std"] <= 1e15:  # its square is to suit float32
            raise ConfigError(f"decoder_std={self.decoder_std}: a number from 1e-15 to 1e15")
        if not isinstance(self.label_gradient, (bool, np.bool_)):
            raise ConfigError(f"label_gradient={self.label_gradient!r}: True or False")
        checked["label_gradient"] = bool(self.label_gradient)
        for name, allowed in (
            ("activation", ACTIVATION_PAIRS),
            ("likelihood", LIKELIHOODS),
            ("decoder_output", OUTPUT_PAIRS),
        ):
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r}: one of {', '.join(allowed)}")
        # Python's own numbers, for one NumPy float64 would make a float32 model a float64 one.
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def integer(name, value, least):
    """The value as a Python int, or a ConfigError that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigError(f"{name}={value!r}: whole numbers from {least}")
    return int(value)


def number(name, value):
    """The value as a Python float, not negative and no more than float32 has, or a ConfigError."""
    real = isinstance(value, (int, float, np.integer, np.floating))
    if not real or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise ConfigError(f"{name}={value!r}: a number from 0 to 1e38")
    return float(value)
