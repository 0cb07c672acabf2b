"""One batch through the model: a line for each line of the mathematics, forward and then backward.

The lines of lines.py, executed: every number is that of VAE.forward or VAE.backward to the bit.
Beside each gradient stands the derivative by its definition: the value it belongs to is moved, and
the lines that follow are done again.
"""

import textwrap
from dataclasses import dataclass
from functools import partial

import numpy as np

from .config import VAEConfig
from .datasets import as_images, one_hot
from .gradcheck import NOISE, check_direction, check_entries
from .lines import Step, parts_of
from .report import Row

# Rounding leaves some 1e-15, but of p − y more where the classifier is sure: 1e-16 / (1 − p).
ALLOWED = 1e-10


@dataclass
class Trace:
    """All values and gradients by name, the steps of each part of the model, a Row a gradient.

    given: the names of data, noise and parameters. A Row shows the gradient's largest entry; its
    error is also that along a random direction.
    """

    config: VAEConfig
    given: list[str]
    values: dict
    parts: dict[str, list[Step]]
    rows: dict[str, Row]

    @property
    def forward(self):
        return [line for steps in self.parts.values() for step in steps for line in step.forward]

    @property
    def backward(self):
        steps = [step for steps in self.parts.values() for step in steps]
        return [line for step in reversed(steps) for line in step.backward]

    @property
    def wrong(self):
        """The gradients that are not the derivative, in the order of the computation."""
        return [name for name, row in self.rows.items() if not row.error <= ALLOWED]


def trace(vae, x, labels=None, seed=0):
    """x (B, D), labels as in VAE.forward -> Trace, in float64 on the CPU; the seed draws eps."""
    vae = vae.to("cpu").astype("float64")
    config = vae.config
    x = as_images("x", x, (None, config.data_dim), vae.dtype)
    eps = np.random.default_rng([seed, NOISE]).standard_normal((len(x), config.latent_dim))
    values = {"x": x, "eps": eps}
    if vae.classifier:
        values["y"] = one_hot(labels, (len(x), config.num_classes), vae.dtype)
    values |= vae.parameters()
    given = list(values)
    values |= {"encoder_h[0]": x, "classifier_h[0]": x, "D": config.data_dim}
    values |= {name: getattr(config, name) for name in ("beta", "classifier_weight", "var_floor")}
    if config.likelihood == "gaussian":
        values["decoder_var"] = vae.likelihood.var

    traced = Trace(config, given, values, parts_of(vae), {})
    execute(traced.forward, values)
    exact = {name: v.astype(complex) if np.ndim(v) else v for name, v in values.items()}
    execute(traced.backward, values)
    for line in traced.backward:
        for gradient in line.outputs:
            name = line.value_of(gradient)
            loss = partial(moved_loss, traced.forward, exact, name, line.through)
            flat = loss, values[name].ravel(), values[gradient].ravel()
            [row] = check_entries(*flat, {gradient: values[name].shape}, entries=1).rows
            row.error = max(row.error, check_direction(*flat, seed=seed).max_error)
            traced.rows[gradient] = row
    return traced


def execute(lines, values):
    for line in lines:
        given = line.function(*[values[name] for name in line.inputs])
        values.update(zip(line.outputs, given if len(line.outputs) > 1 else [given]))


def moved_loss(forward, exact, name, through, theta):
    """The loss with theta, flat, in the place of a value: for the line `through`, or None: all."""
    moved = theta.reshape(exact[name].shape)
    values = dict(exact)
    first = min(i for i, line in enumerate(forward) if name in line.inputs)
    for line in forward[first:]:
        given = {key: (exact if key in line.held else values)[key] for key in line.inputs}
        if name in given and through in (line, None):
            given[name] = moved
        values[line.outputs[0]] = line.function(*given.values())
    return values["loss"]


def table(traced):
    """The trace as text of at most 120 columns."""
    heading = f"{'':25} {'shape':10} {'smallest':>9} {'mean':>9} {'largest':>9}"
    texts = ["GIVEN", heading, *(row_of(traced, name) for name in traced.given)]
    texts += ["", "FORWARD", heading]
    for part, steps in traced.parts.items():
        texts.append(f"  {part}")
        texts += [text for step in steps for line in step.forward for text in show(traced, line)]
    by = f"{'entry':>9} {'by hand':>14} {'by definition':>14} {'error':>8}"
    texts += ["", "BACKWARD", f"{heading} {by}"]
    texts += [text for line in traced.backward for text in show(traced, line)] + [""]
    return "\n".join(texts + textwrap.wrap(summary(traced), 120))


def show(traced, line):
    yield f"{line.tag:4} {line.equation}"
    yield f"     {'  '.join(line.source)}"
    yield from (row_of(traced, name) for name in line.outputs)


def row_of(traced, name):
    value, row = traced.values[name], traced.rows.get(name)
    shape = str(value.shape).replace(" ", "")
    text = f"     {name:20} {shape:10} " + " ".join(f"{x:9.3g}" for x in extent(value))
    if row is None:
        return text
    index = ",".join(map(str, row.index))
    return f"{text} {index:>9} {row.analytic:14.7e} {row.numeric:14.7e} {row.error:8.1e}"


def extent(value):
    return [f(value) + 0.0 for f in (np.min, np.mean, np.max)]  # + 0.0: there is no −0


def summary(traced):
    """What the gradients' rows amount to."""
    error, name = max((row.error, name) for name, row in traced.rows.items())
    said = f"{len(traced.rows)} gradients, largest error {error:.1e} ({name})"
    if not traced.wrong:
        return f"{said}: all are the derivative, to rounding."
    first = traced.wrong[0]
    place, code = next(line.source for line in traced.backward if first in line.outputs)
    return f"{said}. WRONG: {', '.join(traced.wrong)}. Begin with {first}, {place}: {code}"
