"""Imports between the layers of the package: a component imports only from lower layers."""

import ast
from pathlib import Path

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent

# From the lowest layer to the highest. A set is a component: the modules or subpackages in it may
# import each other. `charrnn` is the package itself; its `load` imports api when it is called.
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


def find_component(name, layers=LAYERS):
    """Return the index of the layer and the component of a module or subpackage.

    Raises LookupError when it is in no layer.
    """
    for level, components in enumerate(layers):
        for component in components:
            if name in component:
                return level, component
    raise LookupError(f"{name} is in no layer")


def imports(source, package=PACKAGE):
    """Yield the modules and subpackages of charrnn that a source imports.

    Imports in functions and for type checking count too.
    """
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
            first, _, remainder = name.partition(".")
            if first == "charrnn":
                yield remainder.partition(".")[0] or "charrnn"


def is_module(name, package):
    """Return whether a name is a module or subpackage of the package."""
    return (package / name).is_dir() or (package / f"{name}.py").exists()


def forbidden_imports(importer, source, layers=LAYERS):
    """Yield a message for each import in `source` that `importer` may not make."""
    for imported in imports(source):
        if (importer, imported) in ALLOWED or importer == "__main__":
            continue
        level, component = find_component(importer, layers)
        imported_level, imported_component = find_component(imported, layers)
        if imported_component is not component and imported_level >= level:
            yield f"{importer} imports {imported}"


def modules():
    """Yield the module or subpackage and the path of every file of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield "charrnn" if parts == ("__init__",) else parts[0], path


@pytest.mark.parametrize(
    ("name", "path"),
    [pytest.param(name, path, id=str(path.relative_to(PACKAGE))) for name, path in modules()],
)
def test_imports_are_from_lower_layers(name, path):
    """Every module is in a layer and imports from lower layers or from its component."""
    if name != "__main__":
        find_component(name)
    assert list(forbidden_imports(name, path.read_text(encoding="utf-8"))) == []


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
def test_a_forbidden_import_is_detected(importer, source, expected):
    """A forbidden import is detected at the top, in a function and under TYPE_CHECKING."""
    assert list(forbidden_imports(importer, source)) == [expected]


def test_allowed_imports_are_accepted():
    """The package itself is in the lowest layer, and a component may import itself."""
    for importer, source in [
        ("nn", "from charrnn.nn.cells import CELLS\nfrom charrnn import __version__, errors"),
        ("cli", "from charrnn.cli import terminal\nfrom charrnn import api"),
        ("lock", "from charrnn.atomic import sibling_path"),
    ]:
        assert list(forbidden_imports(importer, source)) == []


def test_a_module_in_no_layer_is_an_error():
    """A new module or subpackage must be added to LAYERS."""
    with pytest.raises(LookupError, match="utils is in no layer"):
        find_component("utils")
    with pytest.raises(LookupError, match="rng is in no layer"):
        list(forbidden_imports("nn", "from charrnn import rng", [[{"nn"}]]))


def test_no_folder_has_too_many_modules():
    """A folder has at most 13 modules, and cli has at most 15."""
    for folder in {path.parent for _, path in modules()}:
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        assert count <= (15 if folder.name == "cli" else 13), folder
