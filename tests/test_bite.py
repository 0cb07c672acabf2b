"""Each tag bites: where a tagged function gives a number times 1.001, a test of its tag fails."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_house import FILES, ROOT, tags_of_the_docstrings

import minivae


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What mutants.py saw, in a process of its own, for it changes the code of functions."""
    folder = tmp_path_factory.mktemp("bite")
    path = [str(Path(minivae.__file__).parent.parent), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "mutants.py", folder / "seen.json"],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    assert seen["minivae"] == minivae.__file__
    return seen


def gradients_of_the_docstrings():
    """{backward: how many gradients "dX = …" its docstring derives}, of the tagged pairs."""
    counts = {}
    for path in FILES:
        functions = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
        ]
        docstrings = {node.name: ast.get_docstring(node) or "" for node in functions}
        for name, docstring in docstrings.items():
            if name.endswith("_forward") and re.match(r"\(E\d+\)", docstring):
                backward = name.replace("_forward", "_backward")
                derived = set(re.findall(r"\b(d\w+) = ", docstrings[backward]))
                counts[f"{path.stem}.{backward}"] = len(derived)
    return counts


def test_every_number_that_a_tagged_function_gives_has_its_mutant(seen):
    assert not seen["unseen"], "not one number of these, in any test of the tag"
    mutants = [mutant.split() for mutant in seen["bitten"]]
    assert {tag for tag, _, _ in mutants} == set(tags_of_the_docstrings())
    functions = [function for _, function, _ in mutants]
    gradients = gradients_of_the_docstrings()
    assert gradients == {backward: functions.count(backward) for backward in gradients}


def test_times_1_every_tagged_test_passes(seen):
    assert not seen["failed"]


def test_times_1_001_a_test_of_the_tag_fails(seen):
    survivors = [mutant for mutant, test in seen["bitten"].items() if test is None]
    assert not survivors, "no test of their tag fails:\n" + "\n".join(survivors)
