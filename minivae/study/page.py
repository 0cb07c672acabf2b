"""A trace as one HTML page: page.html, filled in. No network, no script; some pictures."""

import base64
import io
import math
import re
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from matplotlib.image import imsave

from .trace import TINY, extent, source, summary

TILES = 8  # images of a tensor at most
NO_GRADIENT = '<p class="none">No gradient comes back: the loss does not use this value.</p>'


def page(traced, about):
    """Trace, and a sentence about the model -> the text of the page."""
    values, config = traced.values, traced.config
    means = [f"{v} {np.mean(values[v]):.4g}" for v in ("nll", "kl", "ce") if v in values]
    return Template(files(__package__).joinpath("page.html").read_text("utf-8")).substitute(
        about=escape(about),
        x=picture(traced, "x"),
        mean=picture(traced, "mean"),
        J=config.latent_dim,
        loss=f"{values['loss']:.6g}; means: {', '.join(means)}",
        kind="wrong" if traced.wrong else "right",
        summary=escape(summary(traced)),
        tiles=TILES,
        given="".join(value_of(traced, name) for name in traced.given),
        steps="\n".join(steps_of(traced)),
    )


def steps_of(traced):
    """One row for each forward call, with the backward call that answers it beside it.

    The page is read down on the left, then up on the right. So the statements that lead to a
    backward call, sums where two paths meet for example, stand below it.
    """
    shown = set(traced.given)
    right: dict = {}
    waiting = ""
    for statement in traced.backward:
        for call in statement.calls or [None]:
            waiting = cell(traced, statement, call, shown) + waiting
            if call:
                right[call.forward] = waiting
                waiting = ""
    if waiting:
        yield row("", waiting)
    for statement in traced.forward:
        for call in statement.calls or [None]:
            left = cell(traced, statement, call, shown)
            yield row(left, right.get(call, NO_GRADIENT) if call else "")


def row(left, right):
    right = f'<div class="backward">{right}</div>' if right else ""
    return f'<article class="step"><div class="forward">{left}</div>{right}</article>'


def cell(traced, statement, call, shown):
    """A statement without a call, or one call: its equation, its lines, what it takes and gives."""
    if call is None:
        return f'<p class="plain"><code>{escape(statement.text)}</code> {statement.place}</p>'
    where = dict([(statement.place, statement.text), source(*call.lines[0])])
    lines = "<br>".join(f"<code>{escape(text)}</code> {place}" for place, text in where.items())
    tag = f"<b>({call.tag})</b> " if call.tag else ""
    names = dict(zip(call.inputs, call.takes))  # the gradient that a backward call is given
    takes = ", ".join(
        link(traced, names.get(role, traced.names.get(id(value))), role, value)
        for role, value in call.inputs.items()
        if role in names or not (call.forward and role.startswith("d"))  # dW, db are to be filled
    )
    values = "".join(value_of(traced, name) for name in traced.news(call, shown))
    return (
        f'<section class="line"><p class="equation">{tag}{escape(call.equation)}</p>'
        f'<p class="source">{lines}</p><p class="takes">takes {takes}</p>{values}</section>'
    )


def link(traced, name, role, value):
    """An argument of a call: a number, or a link to the value of this name."""
    if np.ndim(value) and name in traced.values:
        return f'<a href="#{anchor(name)}"><code>{escape(name)}</code></a>'
    return f"<code>{role}</code>" if np.ndim(value) else f"<code>{role} = {value:g}</code>"


def value_of(traced, name):
    value, checked = traced.values[name], traced.gradients.get(name)
    shown = dict(zip(("smallest", "mean", "largest"), (f"{x:.3g}" for x in extent(value))))
    if not np.ndim(value):
        shown = {"value": f"{value:.10g}"}
    if checked:
        at = f"[{', '.join(map(str, checked.entry.index))}]"
        shown[f"by hand, {at}"] = f"{checked.entry.analytic:.10e}"
        shown[f"by definition, {at}"] = f"{checked.entry.numeric:.10e}"
        shown["error"] = TINY if checked.verdict == TINY else f"{checked.error:.1e}"
    kind = ' class="wrong"' if name in traced.wrong else ""
    pairs = "".join(f"<div><dt>{key}</dt><dd{kind}>{x}</dd></div>" for key, x in shown.items())
    shape = " × ".join(map(str, np.shape(value)))
    return (
        f'<div class="value" id="{anchor(name)}"><h4><code>{escape(name)}</code> '
        f"<small>{shape}</small></h4><dl>{pairs}</dl>{picture(traced, name)}</div>"
    )


def picture(traced, name):
    """An img of the rows, or columns, that have one number per pixel; else nothing."""
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
    about = escape(f"{name}: {len(rows)} of {side} × {side} pixels")
    return f'<img {size} alt="{about}" src="data:image/png;base64,{data}">'


def anchor(name):
    return "v-" + re.sub(r"\W+", "-", name)
