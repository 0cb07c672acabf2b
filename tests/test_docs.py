"""The pages of docs: what they point at is there, GitHub renders them, their numbers hold."""

import ast
import functools
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from test_house import FILES, ROOT, bearers_of_the_tags, tags_of_the_docstrings

from minivae import VAE, datasets

DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
MATHS = ["derivation.md", "slips.md"]
DERIVATION = PAGES["derivation.md"]
SECTIONS = {
    tag: section
    for tag, section in re.findall(r"^### \((E\d+)\) (.*?)(?=^##|\Z)", DERIVATION, re.M | re.S)
}


def defined_in(path):
    """The names of functions and classes, methods as Class.method."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            names |= {f"{node.name}.{part.name}" for part in methods}
    return names


def without_code(page):
    """The page with blocks, maths and code spans taken out: what Markdown reads as text."""
    page = re.sub(r"^ *```.*?^ *```$", "", page, flags=re.M | re.S)
    page = re.sub(r"\$`[^`\n]*`\$", "maths", page)
    return re.sub(r"`[^`]*`", "code", page)


def anchors(page):
    """The anchors that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Where the derivations point
@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_a_heading_or_a_function(name):
    page = PAGES[name]
    links = re.findall(r"\[([^\]\n]*)\]\(([^)\s]+)\)", page)
    assert links or name not in MATHS
    for text, target in links:
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = DOCS / (file or name)
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target
        if path.suffix == ".py" and text.startswith("`"):
            found = text.strip("`")
            assert found in defined_in(path) or path.as_posix().endswith(found), (text, target)
    for script in re.findall(r"python ((?:\w+/)+\w+\.py)", page):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_a_page_names_is_there(name):
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)", source, re.M))
    named = set(re.findall(r"`(test_\w+)`", PAGES[name]))
    assert named <= tests


@functools.cache
def tagged():
    """{tag: (file in minivae/, the name of what is tagged, the years of its sources)}"""
    found = {}
    for path in FILES:
        tree = ast.parse(path.read_text())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        parts = [("", node) for node in tree.body]
        parts += [(f"{owner.name}.", node) for owner in classes for node in owner.body]
        for prefix, node in parts:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                docstring = ast.get_docstring(node) or ""
                _, _, source = docstring.partition("Source:")
                years = set(re.findall(r"\b1[89]\d\d\b|\b20\d\d\b", source))
                file = path.relative_to(ROOT / "minivae").as_posix()
                for tag in re.findall(r"^\((E\d+)\)", docstring, re.M):
                    found[tag] = file, prefix + node.name, years
    return found


@pytest.mark.parametrize("tag", sorted(tags_of_the_docstrings(), key=lambda tag: int(tag[1:])))
def test_a_derivation_names_its_code_its_tests_and_its_paper(tag):
    section, (file, name, years) = SECTIONS[tag], tagged()[tag]
    assert set(re.findall(r"`(test_\w+)`", section)) == bearers_of_the_tags()[tag]
    assert f"[`{name}`](../minivae/{file})" in section
    if name.endswith("forward"):
        assert f"[`{name.replace('forward', 'backward')}`](../minivae/{file})" in section
    assert years and years <= set(re.findall(r"\b\d{4}\b", section))
    assert "```math" in section and "\n- Shapes: " in section


def plain_statements(method):
    """The statements of a method of VAE as the page quotes them."""
    [function] = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    simple = (ast.Assign, ast.Expr)
    found = [node for node in ast.walk(function) if isinstance(node, simple)]
    found.sort(key=lambda node: node.lineno)
    lines = [ast.unparse(node) for node in found]
    return [re.sub(r"\b(acts|ops|config|self)\.|, params|, grads", "", line) for line in lines]


def test_the_table_has_the_lines_of_forward_and_of_backward_in_reverse_order():
    rows = re.search(r"^\| forward, downwards.*\n\|.*\n((?:\|.*\n)+)", DERIVATION, re.M)[1]
    rows = rows.splitlines()
    cells = [[re.findall("`(.*?)`", cell) for cell in row.split(" | ")] for row in rows]
    forward = [line for left, _ in cells for line in left]
    backward = [line for _, right in reversed(cells) for line in right]
    for method, quoted in ((VAE.forward, forward), (VAE.backward, backward)):
        source = plain_statements(method)
        rest = iter(source)
        missing = [line for line in quoted if line not in rest]  # `in` searches from here on
        assert not missing
        calls = {line for line in source if re.search(r"(forward|backward)\(", line)}
        assert calls <= set(quoted)
    source = plain_statements(VAE.backward)
    sums = {line for line in source if re.fullmatch(r"d\w+ = \w+ \+ .*", line)}
    assert sums == set(re.findall(r"\*\*`(.*?)`\*\*", "".join(rows)))  # where two paths add


# What GitHub renders
@pytest.mark.parametrize("name", MATHS)
def test_the_maths_is_whole_and_small(name):
    page = PAGES[name]
    assert len(re.findall(r"^ *```", page, re.M)) % 2 == 0
    blocks = re.findall(r"^```math\n(.*?)^```$", page, re.M | re.S)
    assert blocks or name == "slips.md"
    inline = re.findall(r"\$`([^`\n]*)`\$", page)
    for maths in blocks + inline:
        bare = re.sub(r"\\[{}]", "", maths)
        depth = 0
        for sign in bare:
            depth += (sign == "{") - (sign == "}")
            assert depth >= 0, maths
        assert depth == 0, maths
        assert maths.count(r"\left") == maths.count(r"\right") + maths.count(r"\leftarrow"), maths
        begun, ended = (re.findall(rf"\\{end}{{(\w+)}}", maths) for end in ("begin", "end"))
        assert sorted(begun) == sorted(ended), maths
        assert len(re.findall(r"[_^]", maths)) <= 50, maths  # GitHub gives up at about a hundred
        assert maths.strip() and "\n\n" not in maths and "$" not in maths


@pytest.mark.parametrize("name", MATHS)
def test_markdown_eats_nothing(name):
    """No sign of maths stands in the text, and nothing sits too close to a formula's dollars."""
    text = without_code(re.sub(r"\]\([^)\s]*\)", "]", PAGES[name]))
    text = re.sub(r"<!--.*?-->", "", text)
    assert not re.findall(r".*[_$\\`].*", text)
    assert text.count("*") % 2 == 0
    for before, after in re.findall(r"(^|.)\$`[^`\n]*`\$(.|$)", PAGES[name], re.M):
        assert before in " (" and after in " .,;:)", (before, after)


@pytest.mark.parametrize("name", MATHS)
def test_lines_of_text_are_at_most_120_wide(name):
    assert max(len(line) for line in PAGES[name].splitlines() if not line.startswith("|")) <= 120


# The numbers of slips.md
def slips():
    spec = importlib.util.spec_from_file_location("measure_slips", DOCS / "measure_slips.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_number_of_the_slips_is_measured():
    """All parts, for one epoch of 300 strokes: each gives the numbers that its table has."""
    module = slips()
    images, labels, _ = datasets.strokes(320)
    data = module.Data((images[:300], labels[:300]), (images[300:], labels[300:]), epochs=1)
    seen = {name: [what for what, _ in part(data)] for name, part in module.PARTS.items()}
    assert seen == {name: list(table) for name, table in module.numbers_on_the_page().items()}


def test_the_slips_that_take_seconds_have_their_numbers(mnist):
    module = slips()
    page, data = module.numbers_on_the_page(), module.of_mnist(*mnist)
    for name in ("cross_entropy", "unsigned_head", "no_weight", "one_part_falls"):
        for what, value in module.PARTS[name](data):
            number, within = page[name][what]
            assert value == pytest.approx(number, rel=0, abs=within), what


def test_the_command_refuses_a_part_that_is_none(capsys):
    with pytest.raises(SystemExit, match="no such part: kl"):
        slips().main(["kl"])


@pytest.mark.slow
def test_all_slips_have_their_numbers_on_mnist(mnist):
    slips().main([])


# The page for contributors
def test_the_layer_of_the_contributing_page_joins_with_one_line(tmp_path):
    """Its two files and its line, in a copy of the package: its tests pass."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "minivae", tmp_path / "minivae")
    (tmp_path / "tests").mkdir()
    files = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", page, re.S)
    for name, text in files:
        (tmp_path / name).write_text(text, encoding="utf-8")
    [line] = re.findall(r"^from \.\..*", page, re.M)
    with open(tmp_path / "minivae" / "devices" / "readable.py", "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    fixture = "import numpy, pytest\nrng = pytest.fixture(lambda: numpy.random.default_rng(0))\n"
    (tmp_path / "tests" / "conftest.py").write_text(fixture)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    found = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert len(files) == 2 and "3 passed" in found.stdout
