"""The time of the gradient checks against the number of parameters, on the CPU.

    python benchmarks/gradcheck.py [--rounds 3] [--quick] [--out FOLDER]

The article's model at several hidden widths, 4 images, in float64, by the complex step. A random
direction takes one call of the loss for any number of parameters; 50 entries per tensor take 50
calls per tensor; all entries take one call each, so that the time grows with the square of the
number of parameters. The last is done only for small models, of images of 8 × 8 pixels. One forward
and backward in float64 is timed for comparison. Every check has to pass before it is timed.
"""

import peers
import timer

from minivae import VAE, VAEConfig
from minivae.gradcheck import check_direction, check_entries, loss_and_gradient

IMAGES, ENTRIES = 4, 50
SMALL = [(64, 4), (64, 16), (64, 64)]  # pixels, hidden width
LARGE = [(784, 16), (784, 64), (784, 256), (784, 1024)]
HEADER = ["parameters", "model", "forward + backward", "direction", "50 per tensor", "all entries"]


def measure(data_dim, width, every, options):
    layers = (width,)
    config = VAEConfig(
        data_dim=data_dim, encoder_layers=layers, decoder_layers=layers, classifier_layers=layers
    )
    vae = VAE(config, dtype="float64")
    x, eps, labels = peers.random_batch(config, IMAGES)
    x, eps = x.astype("float64"), eps.astype("float64")
    loss, theta, dtheta, names = loss_and_gradient(vae, x, labels)

    def gradient():
        _, acts = vae.forward(x, eps, labels)
        vae.backward(acts)

    checks = {
        "direction": lambda: check_direction(loss, theta, dtheta),
        "entries": lambda: check_entries(loss, theta, dtheta, names, entries=ENTRIES),
    }
    if every:
        checks["all"] = lambda: check_entries(loss, theta, dtheta, names)
    for name, check in checks.items():
        assert check().passed, f"{name} at {data_dim}, {width}"
    arms = {"gradient": gradient, **checks}
    seconds = timer.time_arms(arms, options)
    return {
        "data_dim": data_dim,
        "width": width,
        "parameters": theta.size,
        "tensors": len(names),
        "seconds": {name: timer.summary(values) for name, values in seconds.items()},
        "rounds": seconds,
    }


def main():
    options = timer.parse(timer.parser(__doc__, rounds=3))
    small = [(16, 2)] if options.quick else SMALL
    large = [(784, 4)] if options.quick else LARGE
    results = [measure(*model, True, options) for model in small]
    results += [measure(*model, False, options) for model in large]
    rows = [
        [f"{row['parameters']:,}", f"{row['data_dim']}-{row['width']}-10"]
        + [
            f"{1e3 * row['seconds'][name]['median']:.2f} ms" if name in row["seconds"] else ""
            for name in ("gradient", "direction", "entries", "all")
        ]
        for row in results
    ]
    print(timer.table(HEADER, rows), end="\n\n")
    timer.report(options, "gradcheck", ["cpu"], results, {})


if __name__ == "__main__":
    main()
