"""Every numbered example runs in its quick form, reaches its numbers and leaves its picture."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBERED = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
SCRIPTS = [*NUMBERED, EXAMPLES / "gradient_by_hand.py"]


def run(script, folder, data=None):
    env = {name: value for name, value in os.environ.items() if name != "MINIVAE_DATA"}
    env |= {"MINIVAE_DATA": data} if data else {}
    # One thread each: two scripts run at a time, and waiting BLAS threads slow each other down.
    env |= {"MINIVAE_FAST": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """{script: (its run, soon; its folder)} of those that are asked for, two at a time."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {call.params["example"] for call in params if call and "example" in call.params}
    with ThreadPoolExecutor(2) as pool:
        folders = {script: tmp_path_factory.mktemp(script.stem) for script in sorted(wanted)}
        yield {script: (pool.submit(run, script, folders[script]), folders[script])
               for script in folders}


@pytest.mark.parametrize("example", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_reaches_its_numbers_and_leaves_a_picture(example, runs):
    done, folder = runs[example]
    found = done.result()
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout and "MISSED" not in found.stdout
    pictures = {path.name: path.stat().st_size for path in folder.iterdir()}
    # It writes nothing else; the gradient by hand is a table, and writes nothing at all.
    assert set(pictures) == ({f"{example.stem}.png"} if example in NUMBERED else set())
    assert all(0 < size <= 600_000 for size in pictures.values())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_begins_with_its_command(path):
    source = path.read_text()
    lines = source.splitlines()
    assert len(lines) <= (100 if path.stem.startswith("00_") else 120)
    assert max(map(len, lines)) <= 100
    assert f"python examples/{path.name}" in source.split('"""')[1]
    assert path.stem.startswith("00_") or "\n# %%" in source


def test_a_number_that_is_missed_is_said_and_ends_in_1(tmp_path):
    code = """
from story import Numbers
numbers = Numbers()
for what, value in {"above": 2.0, "below": 0.0, "held": 1.4, "nan": float("nan")}.items():
    numbers.hold(what, value, 1, 0.5)
numbers.leave()
"""
    env = os.environ | {"PYTHONPATH": str(EXAMPLES)}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert found.returncode == 1 and found.stdout.count("MISSED") == 3
    assert "missed: above, below, nan" in found.stderr


def test_the_story_has_every_example_with_its_picture():
    story = (EXAMPLES / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", story) + re.findall(r'src="(\S+?)"', story)
    assert all((EXAMPLES / link).is_file() for link in links if not link.startswith("http"))
    for script in NUMBERED:
        assert f"({script.name})" in story
        picture = f"../docs/images/{script.stem}.png"
        assert picture in links and (EXAMPLES / picture).stat().st_size <= 150_000


@pytest.mark.slow
@pytest.mark.parametrize("script", NUMBERED, ids=lambda script: script.stem)
def test_an_example_reaches_its_quick_numbers_on_mnist(script, mnist, tmp_path):
    found = run(script, tmp_path, os.environ["MINIVAE_DATA"])
    assert found.returncode == 0, found.stdout + found.stderr
