"""Train the models that the READMEs show, and write their pictures.

    pip install -e '.[plot,test-browser]' && python scripts/pictures.py [FOLDER]

One function draws one picture. Without FOLDER they are written to data/. The picture of the page
needs Chromium, such as that of Debian's package `chromium`.
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
COLORS = 64  # per picture: enough for lines and letters, in a third of the bytes
RUNS = {"dinos": [], "no-dropout": ["--set", "model.dropout=0"]}


def run_charrnn(*arguments: str | Path, folder: Path = ROOT) -> None:
    """Run a charrnn command in a folder, without its standard output."""
    command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)


def train(run_folder: Path, epochs: float) -> None:
    """Train the models that the pictures show and save them in `run_folder`."""
    common = ["--set", "output.validate_every=50", "--set", f"train.epochs={epochs}"]
    config_path = ROOT / "configs" / "dinos.yaml"
    for name, overrides in RUNS.items():
        checkpoint_path = run_folder / f"{name}.npz"
        run_charrnn("train", config_path, *common, *overrides, "--out", checkpoint_path, "-q")


def draw_loss(run_folder: Path, folder: Path) -> Path:
    """Draw the loss curves of two runs with `charrnn plot`; return the path of the picture."""
    picture = folder / "loss.png"
    run_charrnn("plot", *(run_folder / f"{name}.npz" for name in RUNS), "-o", picture)
    return picture


def draw_page(run_folder: Path, folder: Path) -> Path:
    """Draw the page that `charrnn page` writes, as it reads the validation names.

    Return the path of the picture.
    """
    from playwright.sync_api import sync_playwright

    html_path, picture = run_folder / "page.html", folder / "page.png"
    run_charrnn("page", "dinos.npz", "-o", html_path, "-q", folder=run_folder)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        window = browser.new_page(viewport={"width": 1100, "height": 620})
        window.goto(html_path.as_uri())
        window.locator("#tab-read").click()
        window.wait_for_function("() => numbersOf(400)")
        window.evaluate("moveTo(131, false)")
        window.screenshot(path=picture)
        browser.close()
    return picture


PICTURES = (draw_loss, draw_page)


def shrink(picture: Path) -> None:
    """Reduce a picture to a palette of COLORS colors, which looks the same."""
    with Image.open(picture) as image:
        quantized = image.convert("RGB").quantize(COLORS)
    quantized.save(picture, optimize=True)


def main() -> None:
    """Train the models, then draw every picture and print its path and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=ROOT / "data", help="folder of the pictures"
    )
    parser.add_argument("--epochs", type=float, default=25, help="epochs of each training run")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as run_folder:
        train(Path(run_folder), options.epochs)
        for draw in PICTURES:
            picture = draw(Path(run_folder), folder)
            shrink(picture)
            print(f"{picture}: {os.path.getsize(picture):,} bytes")


if __name__ == "__main__":
    main()
