"""The house keeps its order: imports, budgets, tags."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minivae

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "minivae").glob("*.py"))
README = (ROOT / "README.md").read_text()
TABLE = re.findall(r"^\| `(\w+\.py)` \|", README, re.M)
READING = ["layers", "distributions", "parameters", "mlp", "vae", "optim", "gradcheck"]


def imports(tree):
    """The modules of minivae, and the others, that a source imports at any depth."""
    ours, others = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            ours |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            others.add(node.module.partition(".")[0])
    return {name for name in ours if (ROOT / "minivae" / f"{name}.py").exists()}, others


def test_every_file_has_its_line_in_the_readme():
    assert sorted(TABLE) == [path.name for path in FILES if path.name != "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_imports_only_from_files_that_stand_above_it(path):
    ours, others = imports(ast.parse(path.read_text()))
    if path.name != "__init__.py":
        above = TABLE[: TABLE.index(path.name)]
        assert {f"{name}.py" for name in ours} <= set(above)
    if path.name not in ("backend.py", "kernels.py"):
        assert not others & {"cupy", "cupyx"}


def test_the_readme_names_the_reading_order():
    assert ", ".join(READING) in " ".join(README.split())


def test_the_reading_order_fits_one_sitting():
    lengths = {
        name: len((ROOT / "minivae" / f"{name}.py").read_text().splitlines()) for name in READING
    }
    assert max(lengths.values()) <= 250, lengths
    assert sum(lengths.values()) <= 1150, lengths


def test_the_package_stays_small():
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= 4000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_lines_are_short_and_hold_one_statement(path):
    source = path.read_text()
    assert max(map(len, source.splitlines()), default=0) <= 100
    starts = [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    assert len(starts) == len(set(starts))


def tags_of_the_docstrings():
    tags = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                tags += re.findall(r"^\((E\d+)\)", ast.get_docstring(node) or "", re.M)
    return tags


def test_every_equation_has_a_tag_of_its_own_and_a_test_that_bears_it():
    tags = tags_of_the_docstrings()
    assert len(tags) == len(set(tags))
    tested = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                tested |= set(re.findall(r"^test_(E\d+)_", node.name))
    assert set(tags) == tested


@pytest.mark.parametrize("name", ["layers", "distributions"])
def test_every_forward_has_a_tag_and_its_backward_beneath_it(name):
    tree = ast.parse((ROOT / "minivae" / f"{name}.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [node.name for node in functions]
    for i, node in enumerate(functions):
        if node.name.endswith("_forward"):
            assert re.match(r"\(E\d+\)", ast.get_docstring(node))
            assert "Source:" in ast.get_docstring(node)
            assert names[i + 1] == node.name.replace("_forward", "_backward")


def test_importing_minivae_imports_no_cupy_and_draws_nothing():
    code = "import sys, minivae; print({'cupy', 'matplotlib', 'pooch'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "set()", printed.stderr


def test_the_public_face():
    for name in ("VAE", "VAEConfig", "Adam", "fit", "save", "load", "gradcheck", "datasets"):
        assert hasattr(minivae, name)
    assert issubclass(minivae.errors.ConfigError, (minivae.errors.MinivaeError, ValueError))
