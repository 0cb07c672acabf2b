"""What a protocol should give: the numbers that a run is held against."""

from dataclasses import dataclass, field, replace

from .config import VAEConfig


@dataclass(frozen=True)
class Protocol:
    """All that decides a run's numbers, but for the seed."""

    data: str
    holdout: int = 0
    config: VAEConfig = field(default_factory=VAEConfig)
    epochs: int = 20
    batch_size: int = 100
    lr: float = 1e-3


# Protocol: {key of the last line of the history: (mean, spread over seeds)}, nats an image
ARTICLE = Protocol("mnist", holdout=5000)
PLAIN = VAEConfig(num_classes=0)
PYTORCH_EXAMPLE = VAEConfig(
    latent_dim=20,
    encoder_layers=(400,),
    decoder_layers=(400,),
    activation="relu",
    likelihood="bernoulli",
    num_classes=0,
)
REFERENCES = {
    ARTICLE: {
        "test_loss_auto_encode": (224.1, 0.8),
        "test_kl": (11.6, 0.6),
        "test_accuracy": (0.960, 0.004),
        "test_ce": (0.166, 0.006),
        "test_neg_elbo": (231.2, 0.8),
    },
    replace(ARTICLE, config=VAEConfig(label_gradient=False)): {
        "test_loss_auto_encode": (225.4, 0.8),
        "test_accuracy": (0.977, 0.003),
        "test_neg_elbo": (228.2, 0.8),
    },
    replace(ARTICLE, config=PLAIN): {"test_neg_elbo": (229.2, 0.9)},
    Protocol("mnist", config=PYTORCH_EXAMPLE, epochs=10, batch_size=128): {
        "test_neg_elbo": (105.5, 0.6)
    },
}
# Exact test values at decoder_std 0.5, nats an image, of what a non-linear model has to beat.
BASELINES = {
    "mnist": {"the mean image alone": 282.8, "pPCA, 10 components": 246.7},
}


def card(protocol: Protocol, row: dict) -> str:
    """The numbers of a run's last epoch beside those that its protocol should give."""
    lines = [f"{'after epoch ' + str(row['epoch']):24} {'this run':>10}   {'should be'}"]
    reference = REFERENCES.get(protocol, {})
    for key, value in row.items():
        if key.startswith("test_") and value is not None:
            line = f"{key:24} {value:10.3f}"
            if key in reference:
                mean, spread = reference[key]
                line += f"   {mean} ± {spread}"
            lines.append(line)
    config = protocol.config
    if config.likelihood == "gaussian" and config.decoder_std == 0.5 and config.latent_dim == 10:
        for name, value in BASELINES.get(protocol.data, {}).items():
            lines.append(f"{'  ' + name:24} {value:10.1f}   above test_neg_elbo")
    if not reference:
        lines.append("no reference for this protocol")
    return "\n".join(lines)
