"""Every numbered example runs in its quick form, reaches its numbers and leaves its picture."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBERED = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
SCRIPTS = [*NUMBERED, EXAMPLES / "gradient_by_hand.py"]


def run(script, folder):
    env = {name: value for name, value in os.environ.items() if name != "MINIVAE_DATA"}
    # One thread each: two scripts run at a time, and waiting BLAS threads slow each other down.
    env |= {"MINIVAE_FAST": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """{script: (its run, soon; its folder)} of those that are asked for, two at a time."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {call.params["script"] for call in params if call and "script" in call.params}
    with ThreadPoolExecutor(2) as pool:
        folders = {script: tmp_path_factory.mktemp(script.stem) for script in sorted(wanted)}
        yield {script: (pool.submit(run, script, folders[script]), folders[script])
               for script in folders}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_reaches_its_numbers_and_leaves_a_picture(script, runs):
    done, folder = runs[script]
    found = done.result()
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout and "MISSED" not in found.stdout
    pictures = {path.name: path.stat().st_size for path in folder.iterdir()}
    # It writes nothing else; the gradient by hand is a table, and writes nothing at all.
    assert set(pictures) == ({f"{script.stem}.png"} if script in NUMBERED else set())
    assert all(0 < size <= 400_000 for size in pictures.values())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_begins_with_its_command(path):
    source = path.read_text()
    lines = source.splitlines()
    assert len(lines) <= (100 if path.stem.startswith("00_") else 120)
    assert max(map(len, lines)) <= 100
    assert f"python examples/{path.name}" in source.split('"""')[1]
    assert path.stem.startswith("00_") or "\n# %%" in source


def test_a_number_that_is_missed_is_said_and_ends_in_1(tmp_path):
    code = "from story import Numbers; n = Numbers(); n.hold('x', 2.0, 1, 0.5); n.leave()"
    env = os.environ | {"PYTHONPATH": str(EXAMPLES)}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert found.returncode == 1
    assert "MISSED" in found.stdout and "missed: x" in found.stderr
