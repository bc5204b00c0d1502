"""The pages agree with the program: commands run, links lead somewhere, nothing is missing."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import settings_table

from charrnn.cli.app import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        ROOT / ".github" / "CONTRIBUTING.md",
        *sorted(ROOT.glob("*/README.md")),
        *ROOT.glob("*/*/README.md"),
    ]
}
README, GUIDE = PAGES["README.md"], PAGES["charrnn/README.md"]
SHORTEN = " --set train.steps=300 --set output.validate_every=300"

# Lines that start like this are not run here, with the reason.
EXCEPTIONS = {
    "python3 -m venv": "makes an environment",
    "pip install": "installs; what follows an && is run",
    "ruff check": "reads the whole tree; .ci/run runs it",
    "mypy": "reads the whole tree; .ci/run runs it",
    "bash .ci/run": "takes a quarter of an hour, and runs this test",
    "pre-commit": "installs a git hook",
    "python scripts/": "measures for minutes; test_scripts.py runs each script with smaller sizes",
    "mpiexec": "needs MPI; parallel/test_mpi.py runs it",
    "charrnn train configs/names.yaml": "downloads",
}
# Lines of which a shorter form is run: the text that is replaced, and its replacement.
SHORTENINGS = {
    "charrnn train configs/dinos.yaml": ("dinos.yaml", "dinos.yaml" + SHORTEN),
    "find ": ("-print0 | xargs -0 cat", "| sort | head -20 | xargs cat"),
    "charrnn train mine.yaml": ("mine.yaml", "mine.yaml --set train.epochs=20"),
}
PROGRAMS = r"(charrnn|pip|python3?|pytest|ruff|mypy|bash|mpiexec|sudo|pre-commit|find|printf|head) "


def commands():
    """Return the distinct lines of the `sh` blocks of all pages."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", "\n".join(PAGES.values()), flags=re.MULTILINE | re.DOTALL
    )
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines()))


def is_excepted(command):
    """Return whether a command is not run here."""
    return command.startswith(tuple(EXCEPTIONS))


def shorten(command):
    """Return the command, or its shorter form."""
    for start, (old, new) in SHORTENINGS.items():
        if command.startswith(start) and "train.epochs=" not in command:
            command = command.replace(old, new, 1)
    return command + (" --set train.steps=2 -q" if "configs/code.yaml" in command else "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with configs, data, a short text, and a model that is trained briefly."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configs", "data"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "mine.txt").write_text("anna\nbela\ncleo\ndora\nemma\n", encoding="utf-8")
    (folder / "poems").mkdir()
    shutil.copy(folder / "mine.txt", folder / "poems")
    (command,) = (line for line in commands() if line.startswith("pip install -e . && "))
    run(folder, shorten(command.partition(" && ")[2]))
    run(folder, "charrnn new mine.txt -o mine.yaml")
    return folder


def run(folder, command):
    """Run a command line in a shell with a function `charrnn`, and return its stdout."""
    function = f'charrnn() {{ "{sys.executable}" -m charrnn "$@"; }}\n'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        ["bash", "-c", function + command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stderr}"
    return result.stdout + result.stderr


@pytest.mark.parametrize("command", [line for line in commands() if not is_excepted(line)])
def test_a_command_of_a_page_runs(folder, command):
    """A command of a page, or its shorter form, exits with 0 and prints something."""
    assert run(folder, shorten(command)).strip()


def test_the_exceptions_are_few_and_needed():
    """At most twelve kinds of lines are not run, and each kind is on a page."""
    assert len(EXCEPTIONS) <= 12
    for start in (*EXCEPTIONS, *SHORTENINGS):
        assert any(line.startswith(start) for line in commands()), start


def test_every_shell_line_is_in_a_shell_block():
    """No page has a command outside the blocks whose lines are run."""
    for page, text in PAGES.items():
        without = re.sub(r"^```sh\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        assert not re.search(rf"^(    |\$ )?{PROGRAMS}", without, flags=re.MULTILINE), page


def test_the_python_lines_of_the_readme_run(folder, monkeypatch):
    """The lines of Python in the README run as they stand."""
    monkeypatch.chdir(folder)
    (block,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(block.replace("epochs=10", "epochs=0.5"), {})
    assert len(output.getvalue().splitlines()) > 10


def test_the_guide_quotes_the_examples_that_are_tested():
    """Each block of Python in charrnn/README.md is in test_extension.py."""
    source = textwrap.dedent(Path(__file__).with_name("test_extension.py").read_text("utf-8"))
    lines = [line.strip() for line in source.splitlines()]
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        quoted = [line.strip() for line in block.splitlines()]
        starts = [n for n, line in enumerate(lines) if line == quoted[0]]
        assert any(lines[n : n + len(quoted)] == quoted for n in starts), block


def test_the_pages_have_the_install_commands():
    """The pages have a command that installs and trains, and one that installs and tests."""
    assert "pip install -e . && charrnn train configs/dinos.yaml" in commands()
    assert "pip install -e '.[test]' && pytest" in commands()


def test_the_readme_is_short():
    """The README has at most 220 lines of at most 110 characters, and at most 11 kB."""
    assert len(README.splitlines()) <= 220
    assert max(map(len, README.splitlines())) <= 110
    assert len(README.encode()) <= 11_000
    assert len(GUIDE.splitlines()) <= 250
    assert len(PAGES[".github/CONTRIBUTING.md"].splitlines()) <= 60


def anchors(text):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_links_modules_and_tests_of_pages_exist():
    """Every relative link, anchor, module and test in a page exists."""
    for page, text in PAGES.items():
        folder = (ROOT / page).parent
        for link, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
            path = (folder / link).resolve()
            assert link.startswith("http") or path.exists(), f"{page}: {link}"
            if anchor and not link.startswith("http"):
                target = path.read_text(encoding="utf-8") if link else text
                assert anchor in anchors(target), f"{page}: {link}#{anchor}"
        for name in re.findall(r"`([\w/]+\.(?:py|js))`", text):
            paths = [ROOT / name, ROOT / "charrnn" / name, ROOT / "tests" / name]
            assert any(path.exists() for path in paths), f"{page}: {name}"
        for name in re.findall(r"`(test_\w+)`", text):
            assert any(name in path.read_text() for path in ROOT.glob("tests/**/test_*.py")), name


def test_every_command_has_help_and_is_in_the_readme():
    """Every command has a help text and is in the README, and every option has a help text."""
    for name, command in main.commands.items():
        assert command.help, name
        assert f"charrnn {name} " in README or f"`charrnn {name}" in README, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.name}"


def test_the_table_of_settings_agrees_with_the_code():
    """configs/README.md has the table that scripts/settings_table.py prints."""
    assert settings_table.table() in PAGES["configs/README.md"]


def test_every_config_in_configs_is_valid(charrnn, tmp_path):
    """Every config is valid and starts with a comment that gives the time of training."""
    from charrnn.config import loader

    for path in sorted((ROOT / "configs").glob("*.yaml")):
        loader.load(str(path))
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# "), path
        assert re.search(r"^# Takes ", text, flags=re.MULTILINE), path


def test_the_dinosaur_names_are_sorted_and_unique():
    """The dinosaur names are at least 800, sorted, unique, lower-case and counted in the README."""
    names = (ROOT / "data" / "dinos.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) >= 800
    assert names == sorted(set(names))
    assert all(re.fullmatch("[a-z]+", name) for name in names)
    assert f"{len(names):,} names" in (ROOT / "data" / "README.md").read_text(encoding="utf-8")
