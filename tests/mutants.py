"""Scale each number that a tagged function gives by 1.001, and run the tests of its tag.

python tests/mutants.py FILE runs the tagged tests, first with every number times 1, and then, for
each number times 1.001, those of its tag until one fails. It writes what it saw to FILE, which
test_bite.py reads.

What a function gives is what it returns, each part of a tuple for itself, and what it writes into
its array arguments; VAE.backward gives the gradient of each tensor. Functions that a model calls
are replaced through the seam, the others in their module or class.
"""

import contextlib
import functools
import importlib
import inspect
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import minivae
from minivae.devices import ops, readable

SCALE = 1.001
TESTS = Path(__file__).parent
PACKAGE = Path(minivae.__file__).parent


def tags_of(documented):
    return re.findall(r"^\((E\d+)\)", inspect.cleandoc(documented.__doc__ or ""), re.M)


def tags_of_a_test(name):
    return re.findall(r"(?<=_)E\d+(?=_)", name)


def targets():
    """(tag, owner, name): the tagged functions and methods, and their backwards."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if '"""(E' not in path.read_text():
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(parts))
        ours = [x for x in vars(module).values() if getattr(x, "__module__", "") == module.__name__]
        for owner in [module, *filter(inspect.isclass, ours)]:
            functions = {n: f for n, f in vars(owner).items() if inspect.isfunction(f)}
            for name, function in functions.items():
                if function.__module__ != module.__name__:
                    continue
                for tag in tags_of(function):
                    yield tag, owner, name
                    if name.endswith("forward"):
                        prefix = name.removesuffix("forward") + "backward"
                        yield from ((tag, owner, n) for n in functions if n.startswith(prefix))


def name_of(owner, name):
    where = owner.__name__ if inspect.ismodule(owner) else f"{owner.__module__}.{owner.__name__}"
    return f"{where.removeprefix('minivae.')}.{name}"


@contextlib.contextmanager
def scaled(owner, name, factors):
    """While this lasts, each number that the function gives is times factors[its name]."""
    original = getattr(owner, name)
    wrong = scaling(original, factors)
    if getattr(readable, name, None) is original:
        with ops.replaced(**{name: wrong}):
            yield
    else:
        with mock.patch.object(owner, name, wrong):
            yield


def scaling(original, factors):
    signature = inspect.signature(original)
    is_backward = "backward" in original.__name__

    @functools.wraps(original)
    def call(*args, **kwargs):
        arrays = signature.bind(*args, **kwargs).arguments
        if is_backward and "self" in arrays:
            arrays = arrays["self"].gradients()
        before = {key: a.copy() for key, a in arrays.items() if isinstance(a, np.ndarray)}
        result = original(*args, **kwargs)
        for key, old in before.items():
            array = arrays[key]
            if np.array_equal(array, old, equal_nan=True):
                continue
            if is_backward:  # a gradient, whatever the array held before
                array *= factors[key]
            else:  # a step from what the array held before
                array += (factors[key] - 1) * (array - old)
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
    """A pytest plugin that collects the tagged tests once, and runs them many times."""

    def __init__(self):
        self.failed = {}  # {test: its error}, with all numbers times 1
        self.unseen = []  # functions that gave no number in any test of their tag
        self.bitten = {}  # {number: the test that failed, or None}
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
            # Any other exception would come from a broken function, not from a test.
            if isinstance(self.run(item), AssertionError):
                return item.nodeid
        return None

    def pytest_runtestloop(self, session):
        found = list(targets())
        seen = {target: defaultdict(lambda: 1.0) for target in found}
        tests = defaultdict(list)
        for item in session.items:
            tags = tags_of_a_test(item.originalname)
            with contextlib.ExitStack() as stack:
                for target in found:
                    if target[0] in tags:
                        stack.enter_context(scaled(*target[1:], seen[target]))
                raised = self.run(item)
            if isinstance(raised, pytest.skip.Exception):
                continue
            if raised is not None:
                self.failed[item.nodeid] = repr(raised)
            for tag in tags:
                tests[tag].append(item)

        for tag, owner, name in found:
            numbers = seen[tag, owner, name]
            if not numbers:
                self.unseen.append(f"{tag} {name_of(owner, name)}")
            for number in numbers:
                with scaled(owner, name, defaultdict(lambda: 1.0, {number: SCALE})):
                    test = self.first_that_fails(tests[tag])
                self.bitten[f"{tag} {name_of(owner, name)} {number}"] = test
        return True


def main(file):
    paths = sorted(TESTS.rglob("test_*.py"))
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
