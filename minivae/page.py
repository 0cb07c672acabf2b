"""A trace as one HTML page: page.html, filled in. No network, no script; some pictures."""

import base64
import io
import math
import re
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.image import imsave

from .trace import extent, summary

TILES = 8  # images of a tensor at most


def page(traced, about):
    """Trace, and what model it is of -> the text of the page."""
    config, values = traced.config, traced.values
    weights = {"nll": 1.0, "kl": config.beta, "ce": config.classifier_weight}
    terms = [f"{w:g} · {np.mean(values[v]):.4g} ({v})" for v, w in weights.items() if v in values]
    numbers = {line: f"forward {i}" for i, line in enumerate(traced.forward, 1)}
    numbers |= {line: f"backward {i}" for i, line in enumerate(traced.backward, 1)}
    parts = {"part_classifier": "<p>This model has none.</p>"}
    for part, steps in traced.parts.items():
        parts[f"part_{part}"] = "\n".join(step_of(traced, step, numbers) for step in steps)
    return Template(Path(__file__).with_suffix(".html").read_text("utf-8")).substitute(
        parts,
        about=escape(about),
        x=picture(traced, "x"),
        mean=picture(traced, "mean"),
        J=config.latent_dim,
        loss=f"{values['loss']:.6g} = {' + '.join(terms)}",
        kind="wrong" if traced.wrong else "right",
        summary=escape(summary(traced)),
        tiles=TILES,
        given="".join(value_of(traced, name) for name in traced.given),
    )


def step_of(traced, step, numbers):
    there = [line_of(traced, line, numbers[line]) for line in step.forward]
    # Upside down, so that the whole column is read upwards.
    back = [line_of(traced, line, numbers[line]) for line in reversed(step.backward)]
    back = back or ['<p class="none">Nothing comes back: the loss does not use it.</p>']
    return (
        f'<article class="step"><div class="forward">{"".join(there)}</div>'
        f'<div class="backward">{"".join(back)}</div></article>'
    )


def line_of(traced, line, number):
    place, code = line.source
    equation = (f"<b>({line.tag})</b> " if line.tag else "") + escape(line.equation)
    takes = ", ".join(link(traced, line, name) for name in line.inputs)
    gives = "".join(value_of(traced, name) for name in line.outputs)
    return (
        f'<section class="line"><h3>{number}</h3><p class="equation">{equation}</p>'
        f'<p class="source"><code>{escape(code)}</code> {place}</p>'
        f'<p class="takes">takes {takes}</p>{gives}</section>'
    )


def link(traced, line, name):
    shown = "x" if name.endswith("_h[0]") else name
    if not np.ndim(traced.values[name]):
        return f"{shown} = {traced.values[name]:g}"
    held = " (for its gradient a constant)" if name in line.held else ""
    return f'<a href="#{anchor(shown)}"><code>{shown}</code></a>{held}'


def value_of(traced, name):
    value, row = traced.values[name], traced.rows.get(name)
    shown = dict(zip(("smallest", "mean", "largest"), (f"{x:.3g}" for x in extent(value))))
    if not np.ndim(value):
        shown = {"value": f"{value:.10g}"}
    if row:
        at = f"[{', '.join(map(str, row.index))}]"
        shown |= {f"by hand, {at}": f"{row.analytic:.10e}"}
        shown |= {f"by definition, {at}": f"{row.numeric:.10e}", "error": f"{row.error:.1e}"}
    dd = '<dd class="wrong">' if name in traced.wrong else "<dd>"
    pairs = "".join(f"<div><dt>{key}</dt>{dd}{x}</dd></div>" for key, x in shown.items())
    shape = " × ".join(map(str, np.shape(value)))
    return (
        f'<div class="value" id="{anchor(name)}"><h4><code>{name}</code> <small>{shape}</small>'
        f"</h4><dl>{pairs}</dl>{picture(traced, name)}</div>"
    )


def picture(traced, name):
    """An img of the rows, or columns, that have a number for each pixel; else nothing."""
    D, rows = traced.config.data_dim, np.atleast_2d(traced.values[name])
    side = math.isqrt(D)
    if D not in rows.shape or side * side != D:
        return ""
    rows = (rows if rows.shape[1] == D else rows.T)[:TILES]
    tiles = np.pad(rows.reshape(-1, side, side), ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    pixels = np.concatenate(list(tiles), axis=1)[:, :-1]
    largest = np.nanmax(np.abs(pixels)) or 1.0
    grey = name in ("x", "mean")
    low, high, colours = (0.0, 1.0, "gray") if grey else (-largest, largest, "RdBu_r")
    png = io.BytesIO()
    imsave(png, pixels, vmin=low, vmax=high, cmap=colours, format="png")
    data = base64.b64encode(png.getvalue()).decode()
    size = f'width="{2 * pixels.shape[1]}" height="{2 * side}"'
    about = f"{name}: {len(rows)} of {side} × {side} pixels"
    return f'<img {size} alt="{about}" src="data:image/png;base64,{data}">'


def anchor(name):
    return "v-" + re.sub(r"\W+", "-", name)
