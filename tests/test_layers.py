"""Imports go down only: a room may import what is below it, never up, never sideways."""

import ast
from pathlib import Path

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent

# From the lowest to the highest. What stands in one set is a room: within it imports are free.
# `charrnn` is the package itself, whose `load` imports api only when it is called.
LAYERS = [
    [{"charrnn", "errors", "arrays", "units"}],
    [{"archive", "atomic", "bar", "lock", "streams"}, {"rng"}],
    [{"config"}],
    [{"data"}, {"nn"}],
    [{"checkpoint", "find_corpus"}, {"parallel"}],
    [{"sampling"}, {"evaluation"}],
    [{"training"}, {"web"}, {"plots"}],
    [{"api"}],
    [{"cli"}],
]
ALLOWED = {("charrnn", "api"), ("__main__", "cli")}


def place_of(name, layers=LAYERS):
    """Number of the layer, and the room, of the first part of a module's name."""
    for level, rooms in enumerate(layers):
        for room in rooms:
            if name in room:
                return level, room
    raise LookupError(f"{name} is in no layer")


def imports(source, package=PACKAGE):
    """Every module of ours that a source imports, also inside functions and for types alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [node.module]
            if node.module == "charrnn":  # a module of the package, or a name in it
                names = [
                    f"charrnn.{alias.name}" if is_module(alias.name, package) else "charrnn"
                    for alias in node.names
                ]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == "charrnn":
                yield rest.partition(".")[0] or "charrnn"


def is_module(name, package):
    return (package / name).is_dir() or (package / f"{name}.py").exists()


def wrong(importer, source, layers=LAYERS):
    """What a module of this room or name may not import, and does."""
    for imported in imports(source):
        if (importer, imported) in ALLOWED or importer == "__main__":
            continue
        level, room = place_of(importer, layers)
        below, other = place_of(imported, layers)
        if room is not other and below >= level:
            yield f"{importer} imports {imported}"


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield "charrnn" if parts == ("__init__",) else parts[0], path


@pytest.mark.parametrize(
    ("room", "path"), [pytest.param(*m, id=str(m[1].relative_to(PACKAGE))) for m in modules()]
)
def test_imports_go_down(room, path):
    """Every module is in a layer, and imports what is below it or in its own room."""
    if room != "__main__":
        place_of(room)
    assert list(wrong(room, path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("importer", "source", "expected"),
    [
        ("nn", "from charrnn.training import trainer", "nn imports training"),
        ("nn", "from charrnn.data.corpus import Corpus", "nn imports data"),
        ("training", "import charrnn.cli.app", "training imports cli"),
        ("api", "from charrnn import cli", "api imports cli"),
        ("rng", "from charrnn import atomic", "rng imports atomic"),
        (
            "data",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import charrnn.nn.model",
            "data imports nn",
        ),
        ("web", "def f():\n    from charrnn.plots import history", "web imports plots"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_found(importer, source, expected):
    """Wherever it stands."""
    assert list(wrong(importer, source)) == [expected]


def test_imports_that_go_down_are_none_of_these():
    """The package itself is at the bottom, and a room may import itself."""
    for importer, source in [
        ("nn", "from charrnn.nn.cells import CELLS\nfrom charrnn import __version__, errors"),
        ("cli", "from charrnn.cli import terminal\nfrom charrnn import api"),
        ("lock", "from charrnn.atomic import beside"),
    ]:
        assert list(wrong(importer, source)) == []


def test_a_module_in_no_layer_is_found():
    """A new room has to be given its place."""
    with pytest.raises(LookupError, match="utils is in no layer"):
        place_of("utils")
    with pytest.raises(LookupError, match="rng is in no layer"):
        list(wrong("nn", "from charrnn import rng", [[{"nn"}]]))


def test_no_room_has_too_many_modules():
    """At most 13, and 15 for the commands."""
    for folder in {path.parent for _, path in modules()}:
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        assert count <= (15 if folder.name == "cli" else 13), folder
