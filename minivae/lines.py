"""The lines of VAE.forward and VAE.backward as data: what trace.py executes and shows.

A line is a function, the names of what it takes and gives, and the line of source that calls it.
The functions are those that the model calls, and in its order.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import layers
from .mlp import MLP
from .vae import VAE


@dataclass(eq=False)
class Line:
    """outputs = function(inputs), by name; source: where it is called ("vae.py:117"), in what text.

    held: inputs that count as constants. A line of backward gives gradients of inputs of `through`,
    a line of forward, as far as they reach the loss through that line alone; where paths add,
    `through` is None and the gradient is the whole.
    """

    text: str  # "outputs = inputs"
    function: Callable
    source: tuple[str, str]
    equation: str = ""
    held: tuple[str, ...] = ()
    through: "Line | None" = None
    tag: str = field(init=False)
    outputs: list[str] = field(init=False)
    inputs: list[str] = field(init=False)

    def __post_init__(self):
        self.outputs, self.inputs = (names.split(", ") for names in self.text.split(" = "))
        said = self.equation or first_line(self.function)
        said = said or f"{self.outputs[0]} = {self.inputs[0]}"  # it passes on what it is given
        self.tag = self.through.tag if self.through else ""
        if said.startswith("(E"):
            self.tag, said = said[1:].split(")  ", 1)
        self.equation = said

    def value_of(self, gradient):
        """The value whose gradient an output is; a layer's dh, by whatever name, is that of x."""
        names = self.through.inputs if self.through else [gradient[1:].strip()]
        return next((name for name in names if gradient.startswith(d(name))), names[0])


@dataclass
class Step:
    """Lines of forward, and the lines of backward that stand beside them."""

    forward: list[Line]
    backward: list[Line]


def first_line(function):
    return (inspect.getdoc(function) or "").partition("\n")[0]


def source(function, call):
    """The first line of the function that holds the call, a pattern -> "vae.py:117", its text."""
    texts, number = inspect.getsourcelines(function)
    k = next(k for k, text in enumerate(texts) if re.search(call, text))
    file = Path(inspect.getsourcefile(function) or "").name
    return f"{file}:{number + k}", texts[k].partition("  #")[0].strip()


def d(name):
    """mu -> dmu, encoder.0.W -> d encoder.0.W."""
    return f"d {name}" if "." in name or "[" in name else f"d{name}"


def linear_backward(da, x, W, b):
    dW, db = np.empty_like(W), np.empty_like(b)
    return layers.linear_backward(da, x, W, dW, db), dW, db


def weights_backward(da, x, W, b):
    """dW = xᵀ da,  db = the sum of da over its rows;  x is data"""
    dW, db = np.empty_like(W), np.empty_like(b)
    layers.linear_backward_weights(da, x, dW, db)
    return dW, db


def code_forward(z, probs):
    """code = [z, probs],  side by side"""
    return np.concatenate([z, probs], axis=1)


def code_backward(dcode, z):
    """dz, dprobs = the two parts of dcode"""
    return np.split(dcode, [z.shape[1]], axis=1)


def cost_forward(kl, nll, beta, ce=0.0, classifier_weight=0.0):
    return beta * kl + classifier_weight * ce + nll


def cost_backward(dcost, weight=1):
    return weight * dcost


def loss_forward(cost):
    return np.mean(cost)


def loss_backward(cost):
    """dcost = 1 / B"""
    return np.full_like(cost, 1 / len(cost))


linear_backward.__doc__ = layers.linear_backward.__doc__
loss_forward.__doc__ = VAE.forward.__doc__


def parts_of(vae):
    """{part of the model: its steps}, in the order of forward; that of backward is the reverse."""
    config, pixels = vae.config, type(vae.likelihood)

    @functools.wraps(vae.ops.softmax_backward)
    def softmax_backward(dprobs, probs):
        return config.label_gradient * vae.ops.softmax_backward(dprobs, probs)

    functions = vars(vae.ops) | globals() | {
        "softmax_backward": softmax_backward,
        "weights_forward": layers.linear_forward,
        "activation_forward": vae.encoder.activation.forward,
        "activation_backward": vae.encoder.activation.backward,
        "output_forward": vae.likelihood.output.forward,
        "output_backward": vae.likelihood.output.backward,
    }  # fmt: skip

    def step(pair, forward, backward="", call="", at=None, owner=VAE):
        """The lines of a pair. What is said where the owner's methods call it is a pattern: call,
        in front of "forward(" and "backward(", or the two of at."""
        call = call or rf"\b{pair}_"
        there, back = at or (rf"{call}forward\(", rf"{call}backward\(")
        line = Line(forward, functions[f"{pair}_forward"], source(owner.forward, there))
        if not backward:
            return Step([line], [])
        function = functions[f"{pair}_backward"]
        return Step([line], [Line(backward, function, source(owner.backward, back), through=line)])

    def add(total, first, second, pattern):
        where = source(VAE.backward, pattern)
        return Line(f"{total} = {first}, {second}", np.add, where, f"{total} = {first} + {second}")

    def linear(a, layer, x, call, dx="", owner=VAE):
        """dx: the name of its gradient, where it is not d of x, or None: x is data."""
        forward = f"{a} = {x}, {layer.W}, {layer.b}"
        back = f"{d(layer.W)}, {d(layer.b)} = {d(a)}, {x}, {layer.W}, {layer.b}"
        if dx is None:
            return step("weights", forward, back, call, owner=owner)
        return step("linear", forward, f"{dx or d(x)}, {back}", call, owner=owner)

    def network(name, mlp, x, dx=None):
        """-> its steps, and the name of its last h."""
        steps = []
        for i, layer in enumerate(mlp.layers, 1):
            a, h = f"{name}_a[{i}]", f"{name}_h[{i}]"
            back = f"{d(a)} = {d(h)}, {h}"
            steps.append(linear(a, layer, x, r"layer\.", dx, MLP))
            steps.append(step("activation", f"{h} = {a}", back, r"activation\.", owner=MLP))
            x, dx = h, ""
        return steps, x

    encoder, h = network("encoder", vae.encoder, "encoder_h[0]")
    mu = linear("mu", vae.mu_head, h, r"mu_head\.", "dh_mu")
    mu.backward.append(add(d(h), "dh_log_var", "dh_mu", "dh = dh_log_var"))
    log_var = linear("log_var", vae.log_var_head, h, r"log_var_head\.", "dh_log_var")
    var = step("variance", "var = log_var, var_floor", "dlog_var = dvar, log_var")
    kl = step("gaussian_kl", "kl = mu, var", "dmu_kl, dvar_kl = dkl, mu, var")
    kl.backward.append(add("dmu", "dmu_z", "dmu_kl", "dmu = "))
    kl.backward.append(add("dvar", "dvar_z", "dvar_kl", "dvar = "))
    z = step("reparameterize", "z = mu, var, eps", "dmu_z, dvar_z = dz, var, eps")
    parts = {"encoder": [*encoder, mu, log_var, var], "code": [kl, z]}

    if vae.classifier:
        classifier, h = network("classifier", vae.classifier, "classifier_h[0]")
        logits = linear("logits", vae.logits_head, h, r"logits_head\.")
        probs = step("softmax", "probs = logits", "dlogits_code = dprobs, probs")
        probs.backward.append(add("dlogits", "dlogits_ce", "dlogits_code", "dlogits = "))
        ce = step("categorical_nll", "ce = logits, y", "dlogits_ce = dce, probs, y")
        parts["classifier"] = [*classifier, logits, probs, ce]
        at = "code = np", "dz, dprobs = "
        code = step("code", "code = z, probs", "dz, dprobs = dcode, z", at=at)
        code.forward[0].held = () if config.label_gradient else ("probs",)
        decoder, h = network("decoder", vae.decoder, "code", "")
        parts["decoder"] = [code, *decoder]
    else:
        parts["decoder"], h = network("decoder", vae.decoder, "z", "")

    heads = Step([], [])
    several = len(vae.decoder_heads) > 1
    for i, layer in enumerate(vae.decoder_heads):
        head = linear(f"heads[{i}]", layer, h, r"\bhead\.", f"dh_heads[{i}]" if several else "")
        heads.forward += head.forward
        heads.backward += head.backward
    if several:
        heads.backward.append(add(d(h), "dh_heads[0]", "dh_heads[1]", "dh = dh"))
    dout, dmean = "d heads[0] = dmean, mean", ""
    if config.likelihood == "gaussian":
        dmean = "dmean = dsse, x, mean"
        pair, nll, back = "isotropic_nll", "nll = sse, decoder_var, D", "dsse = dnll, decoder_var"
    elif config.likelihood == "gaussian_learned":
        pair, nll = "gaussian_nll", "nll = x, mean, decoder_var"
        back = "dmean, ddecoder_var = dnll, x, mean, decoder_var"
    else:
        dout = ""
        pair, nll, back = "bernoulli_nll", "nll = x, heads[0]", "d heads[0] = dnll, x, mean"
    parts["decoder"] += [heads, step("output", "mean = heads[0]", dout, r"output\.", owner=pixels)]
    if several:
        forward, dhead = "decoder_var = heads[1], var_floor", "d heads[1] = ddecoder_var, heads[1]"
        parts["decoder"].append(step("variance", forward, dhead, owner=pixels))

    terms, total = "kl, nll, beta", "beta · kl + nll"
    weights = {"kl": "beta"}
    if vae.classifier:
        terms, total = f"{terms}, ce, classifier_weight", "beta · kl + classifier_weight · ce + nll"
        weights = {"ce": "classifier_weight"} | weights
    at = r"cost = cost \+ acts.nll", "dnll = "
    cost = step("cost", f"cost = {terms}", "dnll = dcost", at=at)
    cost.forward[0].equation = f"cost = {total}"
    for term, weight in weights.items():
        given, where = f"d{term} = dcost, {weight}", source(VAE.backward, f"d{term} = ")
        equation = f"d{term} = {weight} · dcost"
        cost.backward.append(Line(given, cost_backward, where, equation, through=cost.forward[0]))
    sse = step("squared_error", "sse = x, mean", dmean, owner=pixels)
    nll = step(pair, nll, back, owner=pixels)
    loss = step("loss", "loss = cost", "dcost = cost", at=("return np", "dcost = "))
    return parts | {"loss": [sse, nll, cost, loss]}
