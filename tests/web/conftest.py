"""A headless Chromium, and pages of small models that it opens.

Skipped without Playwright (`pip install -e '.[test-browser]'`) or Chromium (Debian's `chromium`).
"""

import shutil

import pytest
from click.testing import CliRunner

from charrnn.cli.app import main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests of a file."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        # Chromium cannot start its sandbox as root in a container.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run_command():
    """A function that runs a command line that must succeed, and returns its stdout."""

    def run(*arguments):
        result = CliRunner().invoke(main, [*map(str, arguments)])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def train(run_command, tmp_path_factory):
    """A function that trains a small model on a text and returns its checkpoint's path."""

    def train(name, text, mode="stream", seed=1, **model):
        folder = tmp_path_factory.mktemp(name)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
        settings = {"hidden": 8, **model}
        (folder / "run.yaml").write_text(
            f"corpus: {{path: {name}.txt, mode: {mode}}}\n"
            f"model: {{{', '.join(f'{key}: {value}' for key, value in settings.items())}}}\n"
            f"train: {{steps: 60, seed: {seed}, batch_size: 8}}\n"
            f"output: {{checkpoint: {name}.npz}}\n",
            encoding="utf-8",
        )
        run_command("train", folder / "run.yaml", "-q")
        return folder / f"{name}.npz"

    return train


@pytest.fixture
def visit(browser):
    """A function that opens a page, which must not log, raise, open a dialog or load anything.

    Only the worker is loaded, from a blob that the page itself made.
    """
    events, contexts = [], []

    def visit(path, **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        url = path.as_uri()
        own = (url, "blob:null/")
        page.on("console", lambda message: events.append(message.text))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: r.url.startswith(own) or events.append(r.url))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert events == []
