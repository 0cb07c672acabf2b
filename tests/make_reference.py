"""Make tests/reference.safetensors: what PyTorch's autograd and Adam give for ten small models.

    python tests/make_reference.py

It needs PyTorch and safetensors; the committed file is of PyTorch 2.13.0 on a CPU, in float64. No
line of minivae is used: the models are written down again, from PyTorch's own losses and
distributions. test_pytorch.py holds minivae to the file and needs no PyTorch.

The file holds, by the names of minivae's parameters:
    <model>/start/<parameter>       the weights before the first step, W (in, out) and b (out,)
    <model>/gradient/<parameter>    the loss's gradient there, on the first batch
    <model>/end/<parameter>         the weights after 20 steps of Adam, a batch a step
    <model>/x, <model>/eps          (20, B, D) and (20, B, J)
    <model>/labels                  (20, B); not there where a model is trained without labels
    <model>/losses                  (20,), the loss of each batch before its step
and in its metadata, under "reference", as JSON: the version of PyTorch, and of each model the
fields of its VAEConfig that are not the default. A model's seed is its place in MODELS: one added
at the end leaves the others as they are.
"""

import json
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Normal, kl_divergence

FILE = Path(__file__).parent / "reference.safetensors"
STEPS = 20
BATCH = 5
SIZES = {
    "data_dim": 7,
    "latent_dim": 2,
    "encoder_layers": (6,),
    "decoder_layers": (5,),
    "num_classes": 3,
    "classifier_layers": (4,),
}
DEFAULTS = {
    "activation": "sigmoid",
    "likelihood": "gaussian",
    "decoder_std": 0.5,
    "decoder_output": "sigmoid",
    "classifier_weight": 10.0,
    "label_gradient": True,
    "var_floor": 1e-5,
    "beta": 1.0,
}
MODELS = {
    "article": {},
    "cut": {"label_gradient": False},
    "unlabelled": {},
    "weighted": {"beta": 0.3, "classifier_weight": 2.5, "var_floor": 0.1, "decoder_std": 0.2},
    "plain": {"num_classes": 0, "activation": "relu", "likelihood": "bernoulli"},
    "learned": {"activation": "tanh", "likelihood": "gaussian_learned"},
    "floored": {
        "activation": "leaky_relu",
        "likelihood": "gaussian_learned",
        "decoder_output": "identity",
        "var_floor": 0.3,
        "beta": 2.0,
    },
    "deep": {
        "encoder_layers": (5, 6),
        "decoder_layers": (3, 5, 4),
        "classifier_layers": (4, 5),
        "activation": "tanh",
        "likelihood": "bernoulli",
    },
    "linear": {
        "encoder_layers": (),
        "decoder_layers": (),
        "classifier_layers": (),
        "decoder_output": "identity",
    },
    "plain learned": {
        "num_classes": 0,
        "activation": "leaky_relu",
        "likelihood": "gaussian_learned",
        "var_floor": 0.0,
    },
}
WITHOUT_LABELS = ("unlabelled",)
ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": lambda a: F.leaky_relu(a, negative_slope=0.2),
}


def draw_weights(options):
    """Weights and biases, all of N(0, 0.5²)."""
    weights = {}

    def layer(name, n_in, n_out):
        weights[f"{name}.W"] = (0.5 * torch.randn(n_in, n_out)).requires_grad_()
        weights[f"{name}.b"] = (0.5 * torch.randn(n_out)).requires_grad_()

    def network(name, n_in, widths, heads):
        for i, width in enumerate(widths):
            layer(f"{name}.{i}", n_in, width)
            n_in = width
        for head, n_out in heads.items():
            layer(f"{name}.{head}", n_in, n_out)

    D, J, K = options["data_dim"], options["latent_dim"], options["num_classes"]
    network("encoder", D, options["encoder_layers"], {"mu": J, "log_var": J})
    if K:
        network("classifier", D, options["classifier_layers"], {"out": K})
    heads = {"out": D}
    if options["likelihood"] == "gaussian_learned":
        heads["log_var"] = D
    network("decoder", J + K, options["decoder_layers"], heads)
    return weights


def loss_of(options, weights, x, eps, labels):
    """The mean over the batch of −log p(x|z) + beta KL + classifier_weight · cross-entropy."""
    activation = ACTIVATIONS[options["activation"]]

    def linear(name, h):
        return F.linear(h, weights[f"{name}.W"].T, weights[f"{name}.b"])

    def hidden(name, h):
        for i in range(len(options[f"{name}_layers"])):
            h = activation(linear(f"{name}.{i}", h))
        return h

    def normal(mean, log_var):
        return Normal(mean, (options["var_floor"] + log_var.exp()).sqrt())

    h = hidden("encoder", x)
    q = normal(linear("encoder.mu", h), linear("encoder.log_var", h))
    code = q.loc + q.scale * eps
    loss = options["beta"] * kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()

    if options["num_classes"]:
        logits = linear("classifier.out", hidden("classifier", x))
        probs = F.softmax(logits, dim=1)
        if not options["label_gradient"]:
            probs = probs.detach()
        code = torch.cat([code, probs], dim=1)
        if labels is not None:
            loss = loss + options["classifier_weight"] * F.cross_entropy(logits, labels)

    h = hidden("decoder", code)
    out = linear("decoder.out", h)
    mean = out if options["decoder_output"] == "identity" else torch.sigmoid(out)
    if options["likelihood"] == "bernoulli":
        # Grey pixels: a cross-entropy, outside the support that the distribution would check.
        p = Bernoulli(logits=out, validate_args=False)
    elif options["likelihood"] == "gaussian_learned":
        p = normal(mean, linear("decoder.log_var", h))
    else:
        p = Normal(mean, options["decoder_std"])
    return loss - p.log_prob(x).sum(1).mean()


def reference(name):
    """Train one model -> its tensors, its options."""
    options = SIZES | DEFAULTS | MODELS[name]
    weights = draw_weights(options)
    tensors = {f"start/{key}": W.detach().clone() for key, W in weights.items()}
    # A third of the pixels at the ends, 0 and 1, as in handwritten digits.
    x = (1.5 * torch.rand(STEPS, BATCH, options["data_dim"]) - 0.25).clamp(0, 1)
    eps = torch.randn(STEPS, BATCH, options["latent_dim"])
    labels = [None] * STEPS
    if options["num_classes"] and name not in WITHOUT_LABELS:
        labels = torch.randint(options["num_classes"], (STEPS, BATCH))
        tensors["labels"] = labels

    optimizer = torch.optim.Adam(weights.values(), lr=1e-3)
    losses = []
    for i in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(options, weights, x[i], eps[i], labels[i])
        loss.backward()
        if i == 0:
            tensors |= {f"gradient/{key}": W.grad.clone() for key, W in weights.items()}
        optimizer.step()
        losses.append(loss.detach())

    tensors |= {f"end/{key}": W.detach() for key, W in weights.items()}
    tensors |= {"x": x, "eps": eps, "losses": torch.stack(losses)}
    return tensors, options


def main():
    torch.set_default_dtype(torch.float64)
    tensors = {}
    about = {"torch": torch.__version__, "models": {}}
    for seed, name in enumerate(MODELS):
        torch.manual_seed(seed)
        found, options = reference(name)
        tensors |= {f"{name}/{key}": value for key, value in found.items()}
        about["models"][name] = SIZES | MODELS[name]
        losses = found["losses"]
        print(f"{name:13}  loss {losses[0]:.3f} … {losses[-1]:.3f}  {options['likelihood']}")
    FILE.write_bytes(safetensors.torch.save(tensors, {"reference": json.dumps(about)}))
    print(f"{FILE}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
