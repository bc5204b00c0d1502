"""The README's pictures, each made from models that are trained for it.

    pip install -e '.[plot,test-browser]' && python scripts/pictures.py [FOLDER]

One function makes one picture. Without FOLDER they go to data/. The page takes a Chromium, such as
that of Debian's package `chromium`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
COLOURS = 64  # in a picture: enough for lines and letters, and a third of the bytes
RUNS = {"dinos": [], "no-dropout": ["--set", "model.dropout=0"]}


def charrnn(*words: str | Path) -> None:
    """Run a command line, whose paths nobody needs to read."""
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def train(runs: Path, epochs: float) -> None:
    """The models that the pictures show."""
    often = ["--set", "output.validate_every=50", "--set", f"train.epochs={epochs}"]
    for name, settings in RUNS.items():
        out = runs / f"{name}.npz"
        charrnn("train", ROOT / "configs" / "dinos.yaml", *often, *settings, "--out", out, "-q")


def loss(runs: Path, folder: Path) -> Path:
    """Two runs, as `charrnn plot` draws them."""
    picture = folder / "loss.png"
    charrnn("plot", *(runs / f"{name}.npz" for name in RUNS), "-o", picture)
    return picture


def page(runs: Path, folder: Path) -> Path:
    """The top of the page that `charrnn page` writes about the names held out."""
    from playwright.sync_api import sync_playwright

    written, picture = runs / "page.html", folder / "page.png"
    charrnn("page", runs / "dinos.npz", "-o", written, "-q")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        window = browser.new_page(viewport={"width": 1100, "height": 560})
        window.goto(written.as_uri())
        window.locator("#text span.a4").first.hover()  # one that surprised by four bits
        window.screenshot(path=picture)
        browser.close()
    return picture


PICTURES = (loss, page)


def shrink(picture: Path) -> None:
    """Few colours, which nobody can tell from all of them."""
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(COLOURS)
    small.save(picture, optimize=True)


def main() -> None:
    """Every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "data")
    parser.add_argument("--epochs", type=float, default=25, help="of the models that are shown")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as runs:
        train(Path(runs), options.epochs)
        for draw in PICTURES:
            picture = draw(Path(runs), folder)
            shrink(picture)
            print(f"{picture}: {os.path.getsize(picture):,} bytes")


if __name__ == "__main__":
    main()
