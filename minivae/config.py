"""The options of a model."""

import math
from dataclasses import dataclass

from .distributions import LIKELIHOODS
from .errors import ConfigError
from .layers import ACTIVATION_PAIRS, OUTPUT_PAIRS


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
        for name in ("encoder_layers", "decoder_layers", "classifier_layers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if min(getattr(self, name), default=1) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: each layer has at least 1 unit")
        for name in ("data_dim", "latent_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: at least 1")
        if not 0 < self.decoder_std < math.inf:
            raise ConfigError(f"decoder_std={self.decoder_std}: a finite number above 0")
        for name in ("num_classes", "classifier_weight", "var_floor", "beta"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}={getattr(self, name)}: a finite number, 0 or more")
        for name, allowed in (
            ("activation", ACTIVATION_PAIRS),
            ("likelihood", LIKELIHOODS),
            ("decoder_output", OUTPUT_PAIRS),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r}: one of {', '.join(allowed)}")
