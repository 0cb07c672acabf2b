"""What the README says is so."""

import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from minivae.cli import parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_prints_its_comments():
    [code] = re.findall(r"<!-- example -->\n```python\n(.*?)```", README, re.S)
    assert len([text for text in code.splitlines() if text]) <= 20
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    said = [text.removeprefix("# ") for text in code.splitlines() if text.startswith("# ")]
    assert printed.getvalue().splitlines() == said and len(said) == 4


def test_it_is_short():
    assert len(README.splitlines()) <= 250


def test_it_names_every_command():
    [commands] = [action.choices for action in parser()._actions if action.choices]
    named = set(re.findall(r"minivae (\w+)", README))
    assert set(commands) <= named


def test_its_pictures_and_scripts_are_there():
    pictures = re.findall(r'<img src="(\S+)"', README)
    assert len(pictures) == 3
    for picture in pictures:
        assert 0 < (ROOT / picture).stat().st_size <= 200_000
    for script in re.findall(r"python ((?:\w+/)+\w+\.py)", " ".join(README.split())):
        assert (ROOT / script).is_file()


def test_the_tour_runs_as_a_script_and_leaves_its_pictures(tmp_path):
    script = ROOT / "examples" / "tour.py"
    run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "the same weights: True" in run.stdout and "passed" in run.stdout
    pictures = re.findall(r'savefig\("(\S+?)"', script.read_text())
    assert len(pictures) == 5
    assert {path.name for path in tmp_path.iterdir()} == {*pictures, "tour.safetensors"}
