"""The numbers that a run should give."""

from dataclasses import replace

from .options import Options

# A protocol is what decides the numbers of a run: its options, except the seed and the dtype.
ARTICLE = Options("mnist")
STROKES = Options("strokes")
PYTORCH_EXAMPLE = Options(
    "mnist", epochs=10, batch_size=128, latent=20, hidden=(400,), activation="relu",
    likelihood="bernoulli", no_classifier=True, holdout=0,
)  # fmt: skip
# {protocol: {key of the history's last line: (mean, spread over seeds)}}, nats an image. MNIST: the
# models of Zeldes 2018 and of PyTorch's VAE example, measured with other code; strokes: six seeds
# of this package, 2½ standard deviations.
REFERENCES = {
    ARTICLE: {
        "test_loss_auto_encode": (224.1, 0.8), "test_neg_elbo": (231.2, 0.8),
        "test_kl": (11.6, 0.6), "test_ce": (0.166, 0.006), "test_accuracy": (0.960, 0.004)},
    replace(ARTICLE, cut_label_gradient=True): {
        "test_loss_auto_encode": (225.4, 0.8), "test_neg_elbo": (228.2, 0.8),
        "test_accuracy": (0.977, 0.003)},
    replace(ARTICLE, no_classifier=True): {"test_neg_elbo": (229.2, 0.9)},
    PYTORCH_EXAMPLE: {"test_neg_elbo": (105.5, 0.6)},
    STROKES: {
        "test_loss_auto_encode": (209.5, 0.3), "test_neg_elbo": (212.7, 0.3),
        "test_kl": (9.8, 0.4), "test_ce": (0.027, 0.007), "test_accuracy": (0.994, 0.003)},
    replace(STROKES, cut_label_gradient=True): {
        "test_loss_auto_encode": (209.9, 0.3), "test_neg_elbo": (212.2, 0.3),
        "test_accuracy": (0.999, 0.001)},
    replace(STROKES, no_classifier=True): {"test_neg_elbo": (217.2, 0.4)},
}  # fmt: skip
# −log p(x) of the test images, exact, at σ = 0.5: a non-linear −ELBO above pPCA's is broken
BASELINES = {
    "mnist": {"mean image": 282.8, "pPCA of 10 components": 246.7},
    "strokes": {"mean image": 265.8, "pPCA of 10 components": 227.5},
}


def card(options: Options, row: dict) -> str:
    """The test numbers of a run's last epoch beside those that its protocol should give."""
    reference = REFERENCES.get(replace(options, seed=0, dtype="float32"), {})
    title = f"test set, epoch {row['epoch']}"
    lines = [f"{title:22} {'this run':>9}{'   this protocol should give' if reference else ''}"]
    for key, value in row.items():
        if not key.startswith("test_") or value is None:
            continue
        digits = 3 if key in ("test_accuracy", "test_ce") else 1
        line = f"{key:22} {value:9.{digits + 1}f}"
        if key in reference:
            mean, spread = reference[key]
            line += f"   {mean:.{digits}f} ± {spread:.{digits}f}"
            # Rounded, for 0.964 − 0.960 is a little more than 0.004 to a computer.
            line += "" if round(abs(value - mean), 9) <= spread else "   outside"
        lines.append(line)
    if not reference:
        lines.append("no reference for this protocol")
    if (options.likelihood, options.decoder_std, options.latent) == ("gaussian", 0.5, 10):
        values = [f"{value} ({name})" for name, value in BASELINES[options.data].items()]
        lines.append(f"for comparison, −log p(x) at σ = 0.5: {', '.join(values)}")
    return "\n".join(lines)
