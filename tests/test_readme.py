"""The READMEs agree with the program: commands run, and no command or setting is missing."""

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
# Commands that are not run here: they install, take minutes, or read a text of the user.
SKIPPED_COMMANDS = (
    "pip install -e '.[test]'",
    "python scripts/bench.py",
    "charrnn new mine.txt",
    "charrnn train mine.txt",
    "charrnn train mine.yaml",
    "find ",  # shortened in test_the_config_for_code_reads_a_pipe
)


def commands():
    """Return the distinct lines of the `sh` blocks of all pages."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", "\n".join(PAGES.values()), flags=re.MULTILINE | re.DOTALL
    )
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with configs, data, and a model that the README's command trained briefly."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configs", "data"):
        shutil.copytree(ROOT / name, folder / name)
    install_and_train = next(
        line for line in commands() if "charrnn train configs/dinos.yaml" in line
    )
    run(folder, install_and_train.partition(" && ")[2] + SHORTEN)
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
    return result.stdout


@pytest.mark.parametrize(
    "command",
    [
        command
        for command in commands()
        if not command.startswith(SKIPPED_COMMANDS) and "pip install" not in command
    ],
)
def test_a_command_of_a_page_runs(folder, command):
    """A command of a README, with a shorter training, exits with 0 and prints something."""
    if command == "charrnn train configs/dinos.yaml":
        command += SHORTEN
    assert run(folder, command).strip()


def test_the_pages_have_the_install_commands():
    """The READMEs have a command that installs and trains, and one that installs and tests."""
    assert "pip install -e . && charrnn train configs/dinos.yaml" in commands()
    assert "pip install -e '.[test]' && pytest" in commands()


def test_the_readme_is_short():
    """The README of the repository has at most 220 lines."""
    assert len(README.splitlines()) <= 220


def test_the_links_modules_and_tests_of_pages_exist():
    """Every link, module and test in a README exists."""
    for page, text in PAGES.items():
        folder = (ROOT / page).parent
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("http") or (folder / link).exists(), f"{page}: {link}"
        for name in re.findall(r"`([\w/]+\.py)`", text):
            paths = [ROOT / name, ROOT / "charrnn" / name, ROOT / "tests" / name]
            assert any(path.exists() for path in paths), f"{page}: {name}"
        for name in re.findall(r"`(test_\w+)`", text):
            assert any(name in path.read_text() for path in ROOT.glob("tests/**/test_*.py")), name


def test_every_command_has_help_and_is_in_the_readme():
    """Every command has a help text and is in the README, and every option has a help text."""
    for name, command in main.commands.items():
        assert command.help, name
        assert f"charrnn {name} " in README, name
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


def test_the_config_for_code_reads_a_pipe(folder):
    """The command for code.yaml trains on a pipe; it is run with 20 source files and 2 updates."""
    (line,) = [line for line in commands() if line.startswith("find ")]
    command = line.replace("-print0 | xargs -0 cat", "| sort | head -20 | xargs cat")
    assert run(folder, command + " -q --set train.steps=2").strip().endswith("code.npz")


def test_the_dinosaur_names_are_sorted_and_unique():
    """The dinosaur names are at least 800, sorted, unique, lower-case and counted in the README."""
    names = (ROOT / "data" / "dinos.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) >= 800
    assert names == sorted(set(names))
    assert all(re.fullmatch("[a-z]+", name) for name in names)
    assert f"{len(names):,} names" in (ROOT / "data" / "README.md").read_text(encoding="utf-8")
