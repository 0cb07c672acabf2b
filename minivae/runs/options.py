"""What a run keeps beside the state of its training: its options and its pictures."""

from dataclasses import dataclass, field

import numpy as np

from ..config import VAEConfig


@dataclass(frozen=True)
class Options:
    """The options of `minivae train` that decide a run's numbers, and their defaults."""

    data: str = "strokes"
    epochs: int = 20
    batch_size: int = 100
    lr: float = 1e-3
    latent: int = VAEConfig.latent_dim
    hidden: tuple[int, ...] = VAEConfig.encoder_layers
    activation: str = VAEConfig.activation
    likelihood: str = VAEConfig.likelihood
    decoder_std: float = VAEConfig.decoder_std
    decoder_output: str = VAEConfig.decoder_output
    beta: float = VAEConfig.beta
    no_classifier: bool = False
    cut_label_gradient: bool = False
    holdout: int | None = None  # None: 5,000 images of MNIST, as in the article, 0 of strokes
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self):
        if self.holdout is None:
            object.__setattr__(self, "holdout", 5000 if self.data == "mnist" else 0)
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list where it comes from a file

    @property
    def config(self) -> VAEConfig:
        """The model's options. Raises ConfigError."""
        return VAEConfig(
            latent_dim=self.latent, encoder_layers=self.hidden, decoder_layers=self.hidden[::-1],
            classifier_layers=self.hidden, activation=self.activation, likelihood=self.likelihood,
            decoder_std=self.decoder_std, decoder_output=self.decoder_output, beta=self.beta,
            num_classes=0 if self.no_classifier else 10,
            label_gradient=not self.cut_label_gradient,
        )  # fmt: skip


@dataclass
class Record:
    """The options of a run, and the pictures of its epochs so far: {name: uint8 images (…, D)}."""

    options: Options
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
