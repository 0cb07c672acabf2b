"""One batch through the model: every call of a forward or backward function, with its numbers.

The model itself runs, with functions that record how they are called. Beside each gradient stands
the derivative by its definition: the model runs again with complex numbers, one value is moved by
1e-30 i, and the imaginary part of the loss tells the slope. For each backward call this is done for
two things: the gradient that it is given, which is the total gradient of its forward's output, and
the gradients that it returns, which are derivatives through that one call.
"""

import ast
import functools
import inspect
import re
import sys
import textwrap
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config import VAEConfig, stream
from ..devices import ops, readable
from ..gradcheck import Row, check_direction, check_entries
from ..vae import VAE

RELATIVE = 1e-10  # rounding alone leaves about 1e-15,
OF_LARGEST = 1e-13  # but of the numbers that a gradient was computed from, not of the gradient
TINY = "too small to tell"
BACKWARDS = {name: f for name, f in vars(readable).items() if hasattr(f, "wrt")}
FORWARDS = {f.forward for f in BACKWARDS.values()}


@dataclass(eq=False)
class Call:
    """One call of a function of ops."""

    name: str
    tag: str  # of the forward function, such as "E2", or ""
    equation: str
    inputs: dict[str, Any]  # the arguments by name
    output: Any
    lines: list[tuple[str, int]]  # from the calling line to the one in VAE.forward or VAE.backward
    forward: Any = None  # for a backward call, the forward call that it answers
    takes: list[str] = field(default_factory=list)  # the name of the gradient that it is given
    gives: list[str] = field(default_factory=list)  # the names of the values that it computes


class Statement(NamedTuple):
    """A statement of VAE.forward or VAE.backward, and the calls that it led to, if any."""

    place: str  # "vae.py:117"
    text: str
    calls: list[Call]


class Gradient(NamedTuple):
    """Two comparisons of a gradient by hand with the definition."""

    entry: Row  # of its largest entry
    direction: Row  # of all entries, moved at once in a random direction
    error: float  # the larger of the two relative errors
    verdict: str  # "right", "WRONG" or TINY


class Trace(NamedTuple):
    config: VAEConfig
    given: list[str]  # the names of data, noise and parameters
    values: dict[str, Any]  # every array by its name
    names: dict[int, str]  # id of an array: its name
    forward: list[Statement]
    backward: list[Statement]
    gradients: dict[str, Gradient]  # those of the values that were checked

    @property
    def wrong(self):
        """The names of wrong gradients, in the order of the computation."""
        return [name for name, row in self.gradients.items() if row.verdict == "WRONG"]

    def news(self, call, shown):
        """The names that a call is the first to show, of what it takes and gives; adds to shown."""
        taken = [] if call.forward else [self.names.get(id(x)) for x in call.inputs.values()]
        named = dict.fromkeys([*filter(None, taken), *call.takes, *call.gives])
        news = [name for name in named if name not in shown]
        shown.update(news)
        return news


def trace(vae, x, labels=None, seed=0):
    """x (B, D), labels as in VAE.forward -> Trace, in float64 on the CPU; the seed draws eps."""
    vae = vae.to("cpu")
    calls: list[Call] = []

    def record(name, function, inputs):
        output = _own(function(**inputs), inputs)
        tag, _ = _documented(BACKWARDS[name].forward if name in BACKWARDS else name)
        _, equation = _documented(name)
        calls.append(Call(name, tag, equation, inputs, output, _lines(sys._getframe(2))))
        return output

    model = _copy(vae, "float64", (*FORWARDS, *BACKWARDS), record)
    x = x if x.dtype == np.uint8 else x.astype("float64")
    eps = stream(seed, "noise").standard_normal((len(x), vae.config.latent_dim))
    loss, acts = model.forward(x, eps, labels)
    model.backward(acts)
    forward = [call for call in calls if call.name in FORWARDS]
    backward = [call for call in calls if call.name in BACKWARDS]
    _match(forward, backward)

    values = acts.arrays() | {"loss": loss} | model.parameters()
    names = {id(value): name for name, value in reversed(values.items())}
    for call in forward:
        if id(call.output) not in names:  # the model does not keep it
            name = call.name.removesuffix("_forward")
            names[id(call.output)] = name if name not in values else f"{name} {len(values)}"
        call.gives = [names[id(call.output)]]
        values.setdefault(call.gives[0], call.output)
    loss_of = _moved_loss(vae, x, eps, labels, forward)
    measured: dict = {}
    for name, gradient, moved in _gradients(forward, backward, names):
        if name not in measured:
            given = functools.partial(loss_of, moved), np.zeros(gradient.size), gradient.ravel()
            [entry] = check_entries(*given, {"": gradient.shape}, entries=1).rows
            [direction] = check_direction(*given, seed=seed).rows
            measured[name] = entry, direction
            values[name] = gradient
    given_names = [name for name in ("x", "eps", "y", *model.parameters()) if name in values]
    statements = list(_statements(forward)), list(_statements(backward))
    return Trace(vae.config, given_names, values, names, *statements, _judged(measured))


def _copy(vae, dtype, names, call):
    """The model in a dtype; it runs call(name, function, {argument: value}) for these functions."""

    def replacement(name, function):
        bind = inspect.signature(vars(readable)[name]).bind
        return lambda *args, **kwargs: call(name, function, bind(*args, **kwargs).arguments)

    functions = vars(ops.pick("cpu", dtype))
    with ops.replaced(**{name: replacement(name, functions[name]) for name in names}):
        return vae.astype(dtype)


def _own(output, inputs):
    """The output, but a view of it where it is one of the inputs: every value has its own name."""
    if isinstance(output, tuple):
        return tuple(_own(each, inputs) for each in output)
    return output[...] if np.ndim(output) and id(output) in map(id, inputs.values()) else output


def _documented(name):
    """The tag of a function, or "", and its equation: ("E2", "h = 1 / (1 + exp(−a))")."""
    documentation = inspect.getdoc(vars(readable)[name]) or ""
    return re.findall(r"\A(?:\((E\d+)\) *)?(.*)", documentation)[0]


def _lines(frame):
    """(file, line) of a frame and of those that called it, up to VAE.forward or VAE.backward."""
    lines = []
    for caller, line in traceback.walk_stack(frame):
        code = caller.f_code
        lines.append((code.co_filename, line))
        if code.co_name in ("forward", "backward") and isinstance(caller.f_locals.get("self"), VAE):
            break
    return lines


def _match(forward, backward):
    """Find the forward call of each backward call: of those that are still free, the one that
    shares the most arrays with it, and of several the latest."""
    free = list(reversed(forward))
    for call in backward:
        given = {id(value) for value in call.inputs.values() if np.ndim(value)}
        candidates = [each for each in free if each.name == BACKWARDS[call.name].forward]
        known = [{id(each.output), *map(id, each.inputs.values())} for each in candidates]
        call.forward = candidates[np.argmax([len(given & each) for each in known])]
        free.remove(call.forward)


def _gradients(forward, backward, names):
    """(name, gradient, what to move) of what each backward call is given, and of what it gives.

    What to move is a forward call, and the name of one of its inputs, or None for its output.
    """
    upstream = {call: next(iter(call.inputs.values())) for call in backward}
    for call in backward:
        call.takes = [d(call.forward.gives[0])]
    totals = {call.takes[0]: upstream[call] for call in backward}
    for call in backward:
        answered = call.forward
        yield call.takes[0], np.asarray(upstream[call]), (answered, None)
        rest = iter(call.output if isinstance(call.output, tuple) else (call.output,))
        for role in BACKWARDS[call.name].wrt:
            gradient = call.inputs[f"d{role}"] if f"d{role}" in call.inputs else next(rest)
            value = answered.inputs[role]
            name = d(names.get(id(value), f"{answered.name}.{role}"))
            uses = sum(value is each for one in forward for each in one.inputs.values())
            if uses > 1 or totals.get(name, gradient) is not gradient:
                name += f" via {answered.gives[0]}"
            call.gives.append(name)
            yield name, gradient, (answered, role)


def d(name):
    """The name of a gradient: dmu, d encoder.0.W."""
    return f"d {name}" if "." in name or "[" in name else f"d{name}"


def _moved_loss(vae, x, eps, labels, forward):
    """-> a function of (what to move, how far (n,)), the loss as a complex number."""
    constant = {f.forward for f in BACKWARDS.values() if f.wrt == ()}
    moving: dict[str, Any] = {}

    def move(name, function, inputs):
        recorded, (call, role) = next(moving["calls"]), moving["what"]
        if recorded is call and role:
            inputs[role] = inputs[role] + moving["by"].reshape(np.shape(inputs[role]))
        output = function(**inputs)
        if name in constant:  # its gradient is 0 on purpose
            output = recorded.output.astype(complex)
        if recorded is call and not role:
            output = output + moving["by"].reshape(np.shape(output))
        return output

    model = _copy(vae, "complex128", FORWARDS, move)

    def loss(what, by):
        moving.update(what=what, by=by, calls=iter(forward))
        return model.forward(x, eps, labels)[0]

    return loss


def _judged(measured: dict[str, tuple[Row, Row]]):
    """{name: its two rows} -> {name: Gradient}.

    right: |analytic − numeric| ≤ 1e-10 · max(|analytic|, |numeric|) + 1e-13 · the largest gradient
    of the trace. A gradient that is smaller than the second term is too small to tell.
    """
    pairs = {name: [(r.analytic, r.numeric) for r in rows] for name, rows in measured.items()}
    numbers = np.abs(list(pairs.values()))
    allowed = OF_LARGEST * np.max(numbers, where=np.isfinite(numbers), initial=0)

    def verdict(pair):
        if not np.all(np.isfinite(pair)):
            return "WRONG"
        if 0 < np.max(np.abs(pair)) < allowed:
            return TINY
        right = [abs(a - n) <= RELATIVE * max(abs(a), abs(n)) + allowed for a, n in pair]
        return "right" if all(right) else "WRONG"

    return {
        name: Gradient(*rows, max(row.error for row in rows), verdict(pairs[name]))
        for name, rows in measured.items()
    }


def _statements(calls, body=None):
    """The statements of VAE.forward or VAE.backward that were executed, each with its calls."""
    file, line = calls[0].lines[-1]
    for node in body or _innermost(ast.FunctionDef, file, line).body:
        inside = [call for call in calls if node.lineno <= call.lines[-1][1] <= node.end_lineno]
        if isinstance(node, (ast.If, ast.For, ast.With)):
            if inside or not isinstance(node, ast.If):
                yield from _statements(calls, node.body)
        elif inside or not isinstance(node, (ast.Return, ast.Expr)):
            place, text = source(file, node.lineno)
            yield Statement(place, text, inside)


def _innermost(kind, file, line):
    """The innermost statement of a kind that contains a line of a file."""
    around = [n for n in _nodes(file) if isinstance(n, kind) and n.lineno <= line <= n.end_lineno]
    return max(around, key=lambda node: node.lineno)


@functools.cache
def _nodes(file):
    return list(ast.walk(ast.parse(Path(file).read_text("utf-8"))))


@functools.cache
def source(file, line):
    """The statement that contains a line of a file -> "vae.py:117", its text on one line."""
    node = _innermost(ast.stmt, file, line)
    text = ast.get_source_segment(Path(file).read_text("utf-8"), node) or ""
    return f"{Path(file).name}:{node.lineno}", " ".join(text.split())


def table(traced):
    """The trace as text of at most 120 columns."""
    heading = f"{'':27} {'shape':10} {'smallest':>9} {'mean':>9} {'largest':>9}"
    checks = f" {'entry':>9} {'by hand':>14} {'by definition':>14} {'error':>8}"
    texts = ["GIVEN", heading, *(row_of(traced, name) for name in traced.given)]
    for statements in (traced.forward, traced.backward):
        back = statements is traced.backward
        texts += ["", "BACKWARD", heading + checks] if back else ["", "FORWARD", heading]
        shown = set(traced.given)
        for statement in statements:
            text = f"{statement.place}  {statement.text}"
            texts.append(textwrap.shorten(text, 120, placeholder=" …"))
            for call in statement.calls:
                place, _ = source(*call.lines[0])
                inner = f"   [{place}]" if place != statement.place else ""
                texts.append(textwrap.shorten(f"{call.tag or '-':4} {call.equation}{inner}", 116))
                texts += [row_of(traced, name) for name in traced.news(call, shown)]
    return "\n".join([*texts, "", *textwrap.wrap(summary(traced), 120)])


def row_of(traced, name):
    value, checked = traced.values[name], traced.gradients.get(name)
    shape = str(np.shape(value)).replace(" ", "")
    text = f"     {name:22} {shape:10} " + " ".join(f"{x:9.3g}" for x in extent(value))
    if checked:
        entry = checked.entry
        error = "tiny" if checked.verdict == TINY else f"{checked.error:.1e}"
        text += f" {','.join(map(str, entry.index)):>9} {entry.analytic:14.7e}"
        text += f" {entry.numeric:14.7e} {error:>8}"
    return text


def extent(value):
    return [f(value) + 0.0 for f in (np.min, np.mean, np.max)]  # + 0.0 turns −0 into 0


def summary(traced):
    """What the checks of the gradients found, in a few sentences."""
    told = {name: row.error for name, row in traced.gradients.items() if row.verdict != TINY}
    tiny = len(traced.gradients) - len(told)
    name = max(told, key=lambda name: told[name])
    said = f"{len(traced.gradients)} gradients, largest error {told[name]:.1e} ({name})"
    if tiny:
        said += f"; {tiny} are too small to tell, next to the largest gradient"
    if not traced.wrong:
        return f"{said}: all are the derivative, to rounding."
    first = traced.wrong[0]
    calls = [(call, statement) for statement in traced.backward for call in statement.calls]
    place, text, _ = next(each for call, each in calls if first in call.takes + call.gives)
    return f"{said}. WRONG: {', '.join(traced.wrong)}. Begin with {first}, {place}: {text}"
