"""What is installed: the wheel holds all that the program needs, and runs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ["charrnn/py.typed", *(f"charrnn/web/page.{kind}" for kind in ("html", "css", "js"))]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the contents of the wheel."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as contents:
        contents.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_every_file_of_the_package(installed):
    """The page's parts and the mark of a typed package among them."""
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "charrnn").rglob("*.py")}
    assert modules | set(DATA) <= names
    (entry,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "charrnn = charrnn.cli.app:main" in (installed / entry).read_text(encoding="utf-8")


def test_the_program_runs_from_the_wheel(installed, config, tmp_path):
    """It trains, samples, and writes the page."""
    checkpoint = config().with_suffix(".npz")
    page = tmp_path / "page.html"
    for words in (
        ["train", config(), "-q"],
        ["sample", checkpoint, "--n", 20],
        ["page", checkpoint, "-o", page],
    ):
        where = f"import sys; sys.path.insert(0, {str(installed)!r})"
        run = "from charrnn.cli.app import main; main(prog_name='charrnn')"
        there = f"import charrnn; assert charrnn.__file__.startswith({str(installed)!r})"
        code = "; ".join([where, there, run])
        command = [sys.executable, "-c", code, *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    assert "</html>" in page.read_text(encoding="utf-8")
