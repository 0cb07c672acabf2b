"""The order of the package: what each file may import, the lesson, the tags of the equations."""

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
FILES = sorted((ROOT / "minivae").rglob("*.py"))
# Imports point one way: a file imports only from files, or folders, that stand before it here. NEW
# is the place of a file of the reader's own, with a new layer, likelihood or bound.
ORDER = """errors files devices.find devices.memory checks devices.ops layers distributions optim
networks NEW devices.readable devices.cpu devices.cuda config vae training gradcheck evidence
datasets plots runs study cli""".split()
LESSON = "layers distributions networks config vae optim training".split()
# What else a reader of the lesson meets, and the one line that picks the functions of a device.
BESIDE_THE_LESSON = {"errors", "checks", "devices.ops"}


def module_of(path):
    parts = path.relative_to(ROOT / "minivae").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def place(module):
    """The position in ORDER of a module, or of the folder that it belongs to."""
    if module == "devices":  # its __init__.py is empty
        return -1
    names = [module, module.partition(".")[0]]
    return next((ORDER.index(name) for name in names if name in ORDER), ORDER.index("NEW"))


def imports(path):
    """The modules of minivae, and the others, that a file imports at any depth."""
    known = {module_of(each) for each in FILES}
    package = [part for part in module_of(path).split(".") if part]
    package = package if path.name == "__init__.py" else package[:-1]
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
            for alias in node.names:
                name = ".".join([*base, alias.name])
                ours.add(name if name in known else ".".join(base))
        elif isinstance(node, ast.ImportFrom):
            others.add(node.module.partition(".")[0])
    return {name for name in ours if name}, others


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_one_way(path):
    ours, others = imports(path)
    module = module_of(path)
    if module not in ("", "__main__"):
        here = place(module)
        assert all(place(name) <= here for name in ours), ours
        assert here >= 0 or not path.read_text()
    if not module.startswith("devices."):
        assert not others & {"cupy", "cupyx"}


def test_there_is_no_cycle_among_the_files():
    """Within a folder the order is free, as long as no file imports itself by a detour. (ops.pick
    imports the modules of functions when it is called, after all files have been imported.)"""
    graph = {module_of(path): imports(path)[0] for path in FILES}
    done = set()

    def visit(module, above):
        assert module not in above, f"{module} imports itself: {above}"
        if module not in done:
            for name in graph[module]:
                visit(name, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("name", LESSON)
def test_the_lesson_is_closed(name):
    """Its files import each other, the standard library, NumPy, tqdm, errors.py and checks.py; and
    ops, of which they use only `pick`."""
    path = ROOT / "minivae" / f"{name}.py"
    ours, others = imports(path)
    assert ours <= {*LESSON, *BESIDE_THE_LESSON}
    assert others <= {*sys.stdlib_module_names, "numpy", "tqdm"}
    seam = re.findall(r"^from .devices.ops import (.*)$", path.read_text(), re.M)
    assert "devices.ops" not in ours or seam in (["pick"], ["pick_for"])


def test_lines_hold_one_statement():
    for path in FILES:
        tree = ast.parse(path.read_text())
        starts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)]
        assert len(starts) == len(set(starts)), path


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
    for path in (ROOT / "tests").rglob("test_*.py"):
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


UNTAGGED = {"stop_gradient_forward"}  # not an equation: its backward is not its derivative


@pytest.mark.parametrize("name", ["layers", "distributions"])
def test_every_forward_has_a_tag_and_its_backward_beneath_it(name):
    tree = ast.parse((ROOT / "minivae" / f"{name}.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [node.name for node in functions]
    for i, node in enumerate(functions):
        if node.name.endswith("_forward"):
            assert names[i + 1] == node.name.replace("_forward", "_backward")
            if node.name not in UNTAGGED:
                assert re.match(r"\(E\d+\)", ast.get_docstring(node))
                assert "Source:" in ast.get_docstring(node)


def test_every_backward_declares_its_forward_and_inputs_of_it():
    readable = minivae.devices.readable
    for name, backward in vars(readable).items():
        if re.search(r"_backward(_\w+)?$", name):
            forward = vars(readable)[backward.forward]
            assert name.startswith(backward.forward.removesuffix("forward") + "backward")
            assert set(backward.wrt) <= set(inspect.signature(forward).parameters)


def test_everything_public_is_where_it_was():
    import minivae.likelihood
    import minivae.linear_gaussian
    from minivae.likelihood import estimate_log_p, neg_elbo  # noqa: F401
    from minivae.linear_gaussian import LinearGaussian  # noqa: F401

    public = """SGD VAE Activations Adam VAEConfig datasets errors fit gradcheck likelihood
    linear_gaussian load plots save""".split()
    assert set(public) <= set(minivae.__all__)
    assert all(hasattr(minivae, name) for name in public)
    checks = "check_pair check_entries check_direction check_model loss_and_gradient".split()
    assert all(hasattr(minivae.gradcheck, name) for name in checks)
    assert minivae.datasets.load and minivae.errors.MinivaeError


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
        "bound": "elbo",
    }
    vae = minivae.VAE
    for function, signature in {
        vae: "(config=None, seed=0, dtype='float32', device='cpu')",
        vae.forward: "(self, x, eps, labels=None, beta=None)",
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
def test_every_error_is_a_minivae_error_and_the_built_in_that_fits(error, builtin):
    refusal = getattr(minivae.errors, error)
    assert issubclass(refusal, minivae.errors.MinivaeError) and issubclass(refusal, builtin)
