"""The tagged functions, each number that they give scaled in its turn, before the tests of the tag.

python tests/mutants.py FILE runs the tagged tests, first with every number times 1, then for each
mutant those of its tag until one fails, and writes what it saw to FILE. test_bite.py reads it.

What a function gives is what it returns, each part of a tuple for itself, and what it writes into
its array arguments; VAE.backward gives the gradient of each tensor. Both are found by watching.
"""

import contextlib
import importlib
import inspect
import json
import re
import sys
import types
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import minivae

SCALE = 1.001
TESTS = Path(__file__).parent


def tags_of(documented):
    return re.findall(r"^\((E\d+)\)", inspect.cleandoc(documented.__doc__ or ""), re.M)


def tags_of_a_test(name):
    return re.findall(r"(?<=_)E\d+(?=_)", name)


def targets():
    """(tag, function): the tagged functions, their backwards, the step of each tagged class."""
    for path in sorted(Path(minivae.__file__).parent.glob("*.py")):
        if '"""(E' not in path.read_text():
            continue
        module = importlib.import_module(f"minivae.{path.stem}")
        ours = [thing for thing in vars(module).values() if is_of(module, thing)]
        classes = [thing for thing in ours if inspect.isclass(thing)]
        for cls in classes:
            for tag in tags_of(cls):
                yield tag, cls.step
        for owner in [module, *classes]:
            functions = [
                thing
                for thing in vars(owner).values()
                if inspect.isfunction(thing) and is_of(module, thing)
            ]
            for function in functions:
                for tag in tags_of(function):
                    yield tag, function
                    for backward in backwards_of(function, functions):
                        yield tag, backward


def is_of(module, thing):
    return getattr(thing, "__module__", None) == module.__name__


def backwards_of(forward, functions):
    """Of x_forward: x_backward, x_backward_weights and so on; of forward: backward."""
    if not forward.__name__.endswith("forward"):
        return []
    prefix = forward.__name__.removesuffix("forward") + "backward"
    return [other for other in functions if other.__name__.startswith(prefix)]


def name_of(function):
    return f"{function.__module__.removeprefix('minivae.')}.{function.__qualname__}"


mutant = None


def stand_in(*args, **kwargs):
    """Its code enters another function, and its global `mutant` gets a name of its own there."""
    return mutant(*args, **kwargs)


@contextlib.contextmanager
def scaled(function, factors):
    """For a while each number that the function gives is times factors[the number's name].

    The function's code is exchanged, for modules, pairs and tests hold references of their own.
    """
    original = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    original.__kwdefaults__ = function.__kwdefaults__
    key = f"mutant {function.__qualname__}"
    function.__globals__[key] = scaling(original, factors)
    function.__code__ = stand_in.__code__.replace(co_names=(key,))
    try:
        yield
    finally:
        function.__code__ = original.__code__
        del function.__globals__[key]


def scaling(original, factors):
    """The function that gives what original gives, each number times its factor."""
    signature = inspect.signature(original)
    is_backward = "backward" in original.__name__

    def call(*args, **kwargs):
        arrays = signature.bind(*args, **kwargs).arguments
        if is_backward and "self" in arrays:
            arrays = arrays["self"].gradients()
        before = {name: a.copy() for name, a in arrays.items() if isinstance(a, np.ndarray)}
        result = original(*args, **kwargs)
        for name, old in before.items():
            array = arrays[name]
            if np.array_equal(array, old, equal_nan=True):
                continue
            if is_backward:  # a gradient, whatever stood there before
                array *= factors[name]
            else:  # a step from where it stood
                array += (factors[name] - 1) * (array - old)
        if is_number(result):
            return result * factors["result"]
        if isinstance(result, tuple):
            parts = enumerate(result)
            return tuple(x * factors[f"result[{k}]"] if is_number(x) else x for k, x in parts)
        return result

    return call


def is_number(x):
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "fc"
    return isinstance(x, (float, complex, np.inexact))


class Bite:
    """The plugin: collects the tagged tests once, and runs them many times."""

    def __init__(self):
        self.failed = {}  # {test: what it said}, all numbers times 1
        self.unseen = []  # functions that gave no number to a test of their tag
        self.bitten = {}  # {mutant: the test that failed, or None}
        self.raised = None  # the last run's first exception

    def pytest_collection_modifyitems(self, items):
        items[:] = [
            item
            for item in items
            if tags_of_a_test(item.originalname) and "mnist" not in item.fixturenames
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call):
        if call.excinfo and self.raised is None:
            self.raised = call.excinfo.value

    def run(self, item):
        """What the test raises, with its fixtures set up anew."""
        self.raised = None
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return self.raised

    def first_that_fails(self, items):
        for item in items:
            # Any other exception would come from a mutant that is broken, not from a test.
            if isinstance(self.run(item), AssertionError):
                return item.nodeid
        return None

    def pytest_runtestloop(self, session):
        pairs = list(targets())
        seen = {function: defaultdict(lambda: 1.0) for _, function in pairs}
        tests = defaultdict(list)
        for item in session.items:
            tags = tags_of_a_test(item.originalname)
            with contextlib.ExitStack() as stack:
                for function in dict.fromkeys(f for tag, f in pairs if tag in tags):
                    stack.enter_context(scaled(function, seen[function]))
                raised = self.run(item)
            if isinstance(raised, pytest.skip.Exception):
                continue
            if raised is not None:
                self.failed[item.nodeid] = repr(raised)
            for tag in tags:
                tests[tag].append(item)

        for tag, function in pairs:
            if not seen[function]:
                self.unseen.append(f"{tag} {name_of(function)}")
            for number in seen[function]:
                with scaled(function, defaultdict(lambda: 1.0, {number: SCALE})):
                    test = self.first_that_fails(tests[tag])
                self.bitten[f"{tag} {name_of(function)} {number}"] = test
        return True


def main(file):
    paths = sorted(TESTS.glob("test_*.py"))
    tagged = [path for path in paths if re.search(r"def test_(\w+_)?E\d+_", path.read_text())]
    bite = Bite()
    options = ["--quiet", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
    status = pytest.main([*options, *map(str, tagged)], plugins=[bite])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(status)
    seen = {"failed": bite.failed, "unseen": bite.unseen, "bitten": bite.bitten}
    Path(file).write_text(json.dumps(seen | {"minivae": minivae.__file__}))


if __name__ == "__main__":
    main(sys.argv[1])
