"""The pages cannot drift: their commands run, and they name every command and setting."""

import os
import re
import shutil
import subprocess
import sys
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
README = PAGES["README.md"]
SHORTEN = " --set train.epochs=null --set train.steps=300 --set output.validate_every=300"
# Commands about the repository itself, or about a text that only the reader has.
NOT_HERE = (
    "pip install -e '.[test]'",
    "python scripts/bench.py",
    "charrnn new mine.txt",
    "charrnn train mine.yaml",
    "find ",  # minutes: see the test of the recipe for code
)


def commands():
    """The lines of every shell block of every page, each once."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", "\n".join(PAGES.values()), flags=re.MULTILINE | re.DOTALL
    )
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of configs and data, with a model trained for a moment by the README's command."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configs", "data"):
        shutil.copytree(ROOT / name, folder / name)
    install = next(line for line in commands() if "charrnn train configs/dinos.yaml" in line)
    run(folder, install.partition(" && ")[2] + SHORTEN)
    return folder


def run(folder, command):
    """Runs one line in a shell that knows `charrnn`; returns its stdout."""
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
    return result.stdout


@pytest.mark.parametrize(
    "command", [c for c in commands() if not c.startswith(NOT_HERE) and "pip install" not in c]
)
def test_a_command_of_a_page_runs(folder, command):
    """As it stands there, but for the length of a training run, and it prints something."""
    if command == "charrnn train configs/dinos.yaml":
        command += SHORTEN
    assert run(folder, command).strip()


def test_the_two_install_commands_stand_there():
    """One that installs and runs the main job, one that installs and passes the tests."""
    assert "pip install -e . && charrnn train configs/dinos.yaml" in commands()
    assert "pip install -e '.[test]' && pytest" in commands()


def test_the_front_page_is_short():
    """Whoever reads nothing else can use the program."""
    assert len(README.splitlines()) <= 220


def test_what_a_page_names_is_there():
    """Links, tests and modules."""
    for page, text in PAGES.items():
        folder = (ROOT / page).parent
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("http") or (folder / link).exists(), f"{page}: {link}"
        for name in re.findall(r"`([\w/]+\.py)`", text):
            places = [ROOT / name, ROOT / "charrnn" / name, ROOT / "tests" / name]
            assert any(place.exists() for place in places), f"{page}: {name}"
        for name in re.findall(r"`(test_\w+)`", text):
            assert any(name in path.read_text() for path in ROOT.glob("tests/**/test_*.py")), name


def test_every_command_has_help_and_stands_in_the_readme():
    """A command nobody can find does not exist."""
    for name, command in main.commands.items():
        assert command.help, name
        assert f"charrnn {name} " in README, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.name}"


def test_the_table_of_settings_is_that_of_the_code():
    """As scripts/settings_table.py prints it."""
    assert settings_table.table() in PAGES["configs/README.md"]


def test_every_config_here_is_sound(charrnn, tmp_path):
    """And opens with a comment that says what it trains and how long it takes."""
    from charrnn.config import loader

    for path in sorted((ROOT / "configs").glob("*.yaml")):
        loader.load(str(path))
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# "), path
        assert re.search(r"^# Takes ", text, flags=re.MULTILINE), path


def test_the_recipe_for_code_reads_a_pipe(folder):
    """The README's line, with a few of the sources and updates."""
    (line,) = [line for line in commands() if line.startswith("find ")]
    short = line.replace("-print0 | xargs -0 cat", "| sort | head -20 | xargs cat")
    assert run(folder, short + " -q --set train.steps=2").strip().endswith("code.npz")


def test_the_dinosaurs_are_sorted_unique_and_many():
    """Lower case, one a line, 800 and more."""
    names = (ROOT / "data" / "dinos.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) >= 800
    assert names == sorted(set(names))
    assert all(re.fullmatch("[a-z]+", name) for name in names)
    assert f"{len(names):,} names" in (ROOT / "data" / "README.md").read_text(encoding="utf-8")
