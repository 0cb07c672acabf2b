"""The pictures of the README and of examples/README.md, from runs on MNIST: about half an hour.

    MINIVAE_DATA=DIR python docs/make_images.py [NAME …]

NAME: epochs, manifold, or the number of an example, such as 05; without one, all.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image  # installed with matplotlib

ROOT = Path(__file__).parent.parent
RUNS = {  # the options of a run, and of which of its figures
    "epochs": "",
    "manifold": "--latent 2 --no-classifier --likelihood bernoulli --hidden 500 --activation relu",
}
LARGEST = {"epochs": 200_000, "manifold": 200_000}  # bytes; else 150,000


def of_a_run(name, folder):
    train = [sys.executable, "-m", "minivae", "train", "mnist", *RUNS[name].split()]
    subprocess.run([*train, "--out", folder / "run"], check=True)
    return folder / "run" / "figures" / f"{name}.png"


def of_an_example(script, folder):
    subprocess.run([sys.executable, script], cwd=folder, check=True)
    return folder / f"{script.stem}.png"


def small(picture, largest):
    """A PNG of at most so many bytes: with fewer colours, then with fewer pixels."""
    picture = picture.convert("RGB")
    while True:
        for colours in (256, 128, 64, 32, 16):
            file = io.BytesIO()
            picture.quantize(colours).save(file, "PNG", optimize=True)
            if file.tell() <= largest:
                return file.getvalue()
        size = [9 * side // 10 for side in picture.size]
        picture = picture.resize(size, Image.Resampling.LANCZOS)


if not os.environ.get("MINIVAE_DATA") or "MINIVAE_FAST" in os.environ:
    sys.exit("MINIVAE_DATA has to name the folder of MNIST's files, and MINIVAE_FAST not to be set")
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
scripts = {path.stem[:2]: path for path in sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))}
for name in sys.argv[1:] or [*RUNS, *scripts]:
    with tempfile.TemporaryDirectory() as temporary:
        make, what = (of_a_run, name) if name in RUNS else (of_an_example, scripts[name])
        found = make(what, Path(temporary))
        png = small(Image.open(found), LARGEST.get(name, 150_000))
    path = ROOT / "docs" / "images" / found.name
    path.write_bytes(png)
    print(path, len(png))
