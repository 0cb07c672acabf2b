"""The lines of VAE.forward and VAE.backward as data: what trace.py executes and page.py shows.

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
from .layers import Pair
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


@functools.wraps(layers.linear_backward)
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


def cost_forward(nll, kl, beta, ce=0.0, classifier_weight=0.0):
    return beta * kl + classifier_weight * ce + nll


@functools.wraps(VAE.forward)
def loss_forward(cost):
    return np.mean(cost)


def loss_backward(cost):
    """dcost = 1 / B"""
    return np.full_like(cost, 1 / len(cost))


def parts_of(vae):
    """{part of the model: its steps}, in the order of forward; that of backward is the reverse."""
    config, ops, pixels = vae.config, vae.ops, type(vae.likelihood)

    def step(pair, forward, backward="", call="", owner=VAE):
        """The lines of a Pair, or of one by its name. call: what stands in the owner's methods
        before "forward(" and "backward(", or what stands in the two lines, as patterns."""
        if isinstance(pair, str):
            call = rf"\b{pair}_"
            pair = Pair(getattr(ops, f"{pair}_forward"), getattr(ops, f"{pair}_backward"))
        calls = (rf"{call}forward\(", rf"{call}backward\(") if isinstance(call, str) else call
        line = Line(forward, pair.forward, source(owner.forward, calls[0]))
        if not backward:
            return Step([line], [])
        where = source(owner.backward, calls[1])
        return Step([line], [Line(backward, pair.backward, where, through=line)])

    def back_line(text, function, pattern, equation, through=None):
        return Line(text, function, source(VAE.backward, pattern), equation, (), through)

    def add(total, first, second, pattern):
        equation = f"{total} = {first} + {second}"
        return back_line(f"{total} = {first}, {second}", np.add, pattern, equation)

    def linear(a, layer, x, call, dx="", owner=VAE):
        """dx: the name of its gradient, where it is not d of x, or None: x is data."""
        given = f"{x}, {layer.W}, {layer.b}"
        back = f"{d(layer.W)}, {d(layer.b)} = {d(a)}, {given}"
        back = back if dx is None else f"{dx or d(x)}, {back}"
        function = weights_backward if dx is None else linear_backward
        return step(Pair(layers.linear_forward, function), f"{a} = {given}", back, call, owner)

    def network(name, mlp, x, dx=None):
        """-> its steps, and the name of its last h."""
        steps = []
        for i, layer in enumerate(mlp.layers, 1):
            a, h = f"{name}_a[{i}]", f"{name}_h[{i}]"
            back = f"{d(a)} = {d(h)}, {h}"
            steps.append(linear(a, layer, x, r"layer\.", dx, MLP))
            steps.append(step(mlp.activation, f"{h} = {a}", back, r"activation\.", MLP))
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

    code, decoder = "z", []
    weights = {"kl": "beta"}
    if vae.classifier:
        classifier, h = network("classifier", vae.classifier, "classifier_h[0]")
        logits = linear("logits", vae.logits_head, h, r"logits_head\.")
        probs = step("softmax", "probs = logits", "dlogits_code = dprobs, probs")
        softmax_backward = probs.backward[0].function
        probs.backward[0].function = lambda *given: config.label_gradient * softmax_backward(*given)
        probs.backward.append(add("dlogits", "dlogits_ce", "dlogits_code", "dlogits = "))
        ce = step("categorical_nll", "ce = logits, y", "dlogits_ce = dce, probs, y")
        parts["classifier"] = [*classifier, logits, probs, ce]
        pair, calls = Pair(code_forward, code_backward), ("code = np", "dz, dprobs = ")
        decoder = [step(pair, "code = z, probs", "dz, dprobs = dcode, z", calls)]
        decoder[0].forward[0].held = () if config.label_gradient else ("probs",)
        code, weights["ce"] = "code", "classifier_weight"

    steps, h = network("decoder", vae.decoder, code, "")
    learned = len(vae.decoder_heads) > 1
    several = [
        linear(f"heads[{i}]", layer, h, r"\bhead\.", f"dh_heads[{i}]" if learned else "")
        for i, layer in enumerate(vae.decoder_heads)
    ]
    heads = Step([head.forward[0] for head in several], [head.backward[0] for head in several])
    if learned:
        heads.backward.append(add(d(h), "dh_heads[0]", "dh_heads[1]", "dh = dh"))
    name, nll, back, dmean, dout = {
        "gaussian": ("isotropic_nll", "nll = sse, decoder_var, D", "dsse = dnll, decoder_var",
                     "dmean = dsse, x, mean", "d heads[0] = dmean, mean"),
        "gaussian_learned": ("gaussian_nll", "nll = x, mean, decoder_var",
                             "dmean, ddecoder_var = dnll, x, mean, decoder_var",
                             "", "d heads[0] = dmean, mean"),
        "bernoulli": ("bernoulli_nll", "nll = x, heads[0]", "d heads[0] = dnll, x, mean", "", ""),
    }[config.likelihood]  # fmt: skip
    mean = step(vae.likelihood.output, "mean = heads[0]", dout, r"output\.", pixels)
    parts["decoder"] = [*decoder, *steps, heads, mean]
    if learned:
        var = "decoder_var = heads[1], var_floor", "d heads[1] = ddecoder_var, heads[1]"
        parts["decoder"].append(step("variance", *var, owner=pixels))

    sse = step("squared_error", "sse = x, mean", dmean, owner=pixels)
    terms = ", ".join(f"{term}, {weight}" for term, weight in weights.items())
    calls = r"cost = cost \+ acts.nll", "dnll = "
    pair = Pair(cost_forward, lambda dcost: dcost)
    cost = step(pair, f"cost = nll, {terms}", "dnll = dcost", calls)
    [line] = cost.forward
    line.equation = " + ".join(["cost = nll", *(f"{w} · {term}" for term, w in weights.items())])
    for term, weight in reversed(weights.items()):
        text, equation = f"d{term} = dcost, {weight}", f"d{term} = {weight} · dcost"
        cost.backward.append(back_line(text, np.multiply, f"d{term} = ", equation, line))
    calls = r"return np\.mean", "dcost = "
    loss = step(Pair(loss_forward, loss_backward), "loss = cost", "dcost = cost", calls)
    return parts | {"loss": [sse, step(name, nll, back, owner=pixels), cost, loss]}
