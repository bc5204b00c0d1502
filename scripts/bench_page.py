"""Measure the page of `charrnn page` in a headless Chromium: its size and its speed.

    pip install -e '.[test-browser]' && python scripts/bench_page.py [--chars N]

The networks have initial weights, which take the same arithmetic as trained ones. A row has the
size of the page, the seconds from opening it to the first written character, the characters
written in a second (the best of three runs; drawing and showing them included), and the
milliseconds from a typed character to the shaded text and the likeliest next characters (the median
and the slowest of 100).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ((1, 128), (1, 256), (2, 384))  # layers and hidden units of a gru

TYPE = """() => Array.from({ length: 100 }, (_, k) => {
    const start = performance.now();
    document.execCommand("insertText", false, "saurus "[k % 6]);
    document.body.offsetHeight; // the layout is part of the answer
    return performance.now() - start;
})"""


def write_page(folder: Path, layers: int, hidden: int) -> Path:
    """Write the page of a network that has learned for one step; return its path."""
    text, page = ROOT / "data" / "dinos.txt", folder / "page.html"
    (folder / "run.yaml").write_text(
        f"corpus: {{path: {text}, lowercase: true}}\n"
        f"model: {{cell: gru, hidden: {hidden}, layers: {layers}}}\n"
        "train: {steps: 1, seed: 1}\noutput: {checkpoint: run.npz}\n",
        encoding="utf-8",
    )
    for arguments in (
        ["train", folder / "run.yaml", "--force", "-q"],
        ["page", folder / "run.npz", "-o", page, "-q"],
    ):
        command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return page


def measure(browser: Browser, page: Path, chars: int) -> str:
    """Return the figures of a page as cells of a table."""
    window = browser.new_page()
    window.goto(page.as_uri())
    window.locator("#start").click()
    window.wait_for_function("() => written.length > 0")
    seconds = window.evaluate("performance.now()") / 1000
    speeds = []
    window.locator("#length").fill(str(chars))
    for _ in range(3):
        window.wait_for_function("() => !isWriting")
        window.evaluate("() => { speed = 0; }")
        window.locator("#start").click()
        window.wait_for_function("() => speed > 0", timeout=600_000)
        speeds.append(window.evaluate("speed"))
    window.locator("#tab-type").click()
    window.locator("#typed").focus()
    window.evaluate(TYPE)
    times = window.evaluate(TYPE)
    window.close()
    return (
        f"{page.stat().st_size / 1000:,.0f} kB | {seconds:.2f} s | {max(speeds):,.0f} chars/s | "
        f"{statistics.median(times):.1f} ms, {max(times):.1f} ms"
    )


def main() -> None:
    """Print a table with a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chars", type=int, default=50_000, help="characters of a run, about")
    parser.add_argument("--smallest", action="store_true", help="only the smallest network")
    options = parser.parse_args()
    print("| network | page | first character | written | typed: median, slowest |")
    print("|---|---|---|---|---|")
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        # Chromium cannot start its sandbox as root in a container.
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for layers, hidden in NETWORKS[: 1 if options.smallest else None]:
            page = write_page(Path(folder), layers, hidden)
            print(f"| gru {layers} x {hidden} | {measure(browser, page, options.chars)} |")
        browser.close()


if __name__ == "__main__":
    main()
