"""The house keeps its order: imports, budgets, tags."""

import ast
import dataclasses
import functools
import inspect
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
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= 4850


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


def tags_of_the_page():
    page = (ROOT / "docs" / "derivation.md").read_text(encoding="utf-8")
    return re.findall(r"^#+ \((E\d+)\) ", page, re.M)


@functools.cache
def bearers_of_the_tags():
    """{tag: the names of the tests that bear it}"""
    tested: dict = {}
    for path in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for tag in re.findall(r"(?<=_)E\d+(?=_)", node.name):
                    tested.setdefault(tag, set()).add(node.name)
    return tested


def test_every_equation_has_one_tag_one_derivation_and_a_test_that_bears_the_tag():
    tags, derived, tested = tags_of_the_docstrings(), tags_of_the_page(), bearers_of_the_tags()
    for each in (tags, derived):
        assert len(each) == len(set(each))
    assert set(tags) == set(derived) == set(tested)


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
    """What other people's scripts call, with its defaults."""
    assert dataclasses.asdict(minivae.VAEConfig()) == {
        "data_dim": 784,
        "latent_dim": 10,
        "encoder_layers": (128,),
        "decoder_layers": (128,),
        "activation": "sigmoid",
        "likelihood": "gaussian",
        "decoder_std": 0.5,
        "decoder_output": "sigmoid",
        "num_classes": 10,
        "classifier_layers": (128,),
        "classifier_weight": 10.0,
        "label_gradient": True,
        "var_floor": 1e-5,
        "beta": 1.0,
    }
    vae = minivae.VAE
    for function, signature in {
        vae: "(config=None, seed=0, dtype='float32', device='cpu')",
        vae.forward: "(self, x, eps, labels=None)",
        vae.backward: "(self, acts)",
        vae.parameters: "(self)",
        vae.gradients: "(self)",
        vae.astype: "(self, dtype)",
        vae.to: "(self, device)",
        vae.encode: "(self, x)",
        vae.decode: "(self, z, probs=None)",
        vae.sample: "(self, n, digit=None, seed=0)",
        vae.reconstruct: "(self, x)",
        minivae.Adam.step: "(self, theta, dtheta)",
        minivae.datasets.load: "(name, split='train', root=None)",
    }.items():
        assert str(inspect.signature(function)) == signature, function
    fit = inspect.signature(minivae.fit).parameters
    assert [(name, fit[name].default) for name in list(fit)[2:7]] == [
        ("test", None),
        ("epochs", 20),
        ("batch_size", 100),
        ("lr", 1e-3),
        ("seed", 0),
    ]
    check = inspect.signature(minivae.gradcheck.check_model).parameters
    assert [check[name].default for name in ("labels", "seed")] == [None, 0]


@pytest.mark.parametrize(
    "error, builtin",
    [
        ("ConfigError", ValueError),
        ("DataError", ValueError),
        ("FileError", OSError),
        ("DeviceError", RuntimeError),
        ("DivergedError", FloatingPointError),
        ("OutOfMemoryError", MemoryError),
    ],
)
def test_every_refusal_is_a_minivae_error_and_the_built_in_that_fits(error, builtin):
    refusal = getattr(minivae.errors, error)
    assert issubclass(refusal, minivae.errors.MinivaeError) and issubclass(refusal, builtin)
