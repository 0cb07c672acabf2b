"""The README's pictures, from two runs on MNIST."""

import tempfile
from pathlib import Path

from PIL import Image  # matplotlib stands on it

from minivae.cli import main

PICTURES = {  # of which run
    "epochs": "",
    "manifold": "--latent 2 --no-classifier --likelihood bernoulli --hidden 500 --activation relu",
}
FOLDER = Path(__file__).parent / "images"

for name, options in PICTURES.items():
    with tempfile.TemporaryDirectory() as folder:
        main(["train", "mnist", *options.split(), "--out", f"{folder}/run"])
        picture = Image.open(f"{folder}/run/figures/{name}.png").convert("L")
    picture.quantize(24).save(FOLDER / f"{name}.png", optimize=True)
    print(FOLDER / f"{name}.png")
