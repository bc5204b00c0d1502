"""The wheel: it contains every file that the program needs, and the program runs from it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WEB_FILES = [path for path in (ROOT / "charrnn" / "web").iterdir() if path.is_file()]
DATA_FILES = ["charrnn/py.typed", *(str(path.relative_to(ROOT)) for path in WEB_FILES)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel and return a folder with its contents."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_contains_every_file_of_the_package(installed):
    """The wheel contains every module, the parts of the page, py.typed and the entry point."""
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "charrnn").rglob("*.py")}
    assert modules | set(DATA_FILES) <= names
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "charrnn = charrnn.cli.app:main" in (installed / entry_points).read_text(
        encoding="utf-8"
    )


def test_the_program_runs_from_the_wheel(installed, config, tmp_path):
    """The program trains, samples and writes the page with the package from the wheel."""
    checkpoint = config().with_suffix(".npz")
    page = tmp_path / "page.html"
    for arguments in (
        ["train", config(), "-q"],
        ["sample", checkpoint, "--n", 20],
        ["page", checkpoint, "-o", page],
    ):
        set_path = f"import sys; sys.path.insert(0, {str(installed)!r})"
        check_path = f"import charrnn; assert charrnn.__file__.startswith({str(installed)!r})"
        run = "from charrnn.cli.app import main; main(prog_name='charrnn')"
        code = "; ".join([set_path, check_path, run])
        command = [sys.executable, "-c", code, *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()
    assert "</html>" in page.read_text(encoding="utf-8")
