"""The API pages hold every public name, and docstrings say what the signatures say."""

import ast
import dataclasses
import importlib
import inspect
import os
import pkgutil
import re
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

import valleywalk
from valleywalk.folders import checkout

ROOT = checkout()
PAGES = "\n".join(
    page.read_text(encoding="utf-8") for page in sorted((ROOT / "book").glob("api*/*.md"))
)
# Whose modules are listed, each with a line.
LISTED = ("valleywalk.paper", "valleywalk.book")
# The command line describes itself, and nobody imports the rest.
INTERNAL = {
    f"valleywalk.{name}"
    for name in (
        "__main__",
        "allowed",
        "batches",
        "cli",
        "extras",
        "files",
        "folders",
        "markdown",
        "optimizers",
        "show",
        "tail",
        "torchvision_compat",
        "walks.interruption",
        "walks.progress",
        "watchable",
    )
}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(valleywalk.__path__, "valleywalk.")
    if module.name not in INTERNAL and not module.name.startswith(LISTED)
]
# Floors whose names have examples. Those of the others are longer than an example may be.
CORE = [name for name in MODULES if not re.search(r"\.(walks|figures|state)\b", name)]

# Parameters that wait for their line.
UNSAID = {"valleywalk.walks.updates.crop_and_flip": ["padding"]}


def public(module):
    """Public functions and classes by the text of the module, not by what it holds when run."""
    source = inspect.getsource(module)
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = [node.name for node in ast.parse(source).body if isinstance(node, kinds)]
    return {name: getattr(module, name) for name in names if not name.startswith("_")}


def callables(module):
    """Public functions, classes and their methods, each with a path for a message."""
    for name, thing in public(module).items():
        yield f"{module.__name__}.{name}", thing
        for method, function in vars(thing).items() if inspect.isclass(thing) else ():
            if inspect.isfunction(function) and (method[0] != "_" or method == "__call__"):
                yield f"{module.__name__}.{name}.{method}", function


@pytest.fixture(scope="module")
def reference():
    path = ROOT / "book" / "_extensions" / "reference.py"
    specification = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_module_is_on_a_page():
    given = re.findall(r"^\.\. api:: (\S+)$", PAGES, re.MULTILINE)
    for name in MODULES:
        if public(importlib.import_module(name)):
            assert any(f"{name}.".startswith(f"{page}.") for page in given), name
    assert len(given) == len(set(given))
    for name in LISTED:
        assert f".. modules:: {name}\n" in PAGES


@pytest.mark.parametrize("name", MODULES)
def test_a_page_has_every_public_name_of_a_module(reference, name):
    module = importlib.import_module(name)
    shown = {path.rpartition(".")[2]: thing for path, thing in reference.public(module).items()}
    assert shown == public(module)
    for path in reference.public(module):
        parent, _, last = path.rpartition(".")
        assert hasattr(importlib.import_module(parent), last)


def test_what_valleywalk_exports_is_under_its_own_name(reference):
    paths = {path for name in MODULES for path in reference.public(importlib.import_module(name))}
    for name in valleywalk.__all__:
        thing = getattr(valleywalk, name)
        assert inspect.ismodule(thing) or f"valleywalk.{name}" in paths


@pytest.mark.parametrize("name", MODULES)
def test_parameters_are_those_of_the_signature(name):
    for path, thing in callables(importlib.import_module(name)):
        text = inspect.getdoc(thing)
        assert text, f"{path} has no docstring"
        entries = NumpyDocString(text)["Parameters"]
        said = [part.strip(" *") for entry in entries for part in entry.name.split(",")]
        if said:
            taken = [part for part in inspect.signature(thing).parameters if part != "self"]
            assert [*said, *UNSAID.get(path, [])] == taken, path


@pytest.mark.parametrize("name", CORE)
def test_what_a_user_calls_has_an_example(name):
    for member, thing in public(importlib.import_module(name)).items():
        told_of_by_others = dataclasses.is_dataclass(thing) and "draw" not in vars(thing)
        if told_of_by_others or (inspect.isclass(thing) and issubclass(thing, Exception)):
            continue
        assert ">>> " in thing.__doc__, f"{name}.{member}"


@pytest.mark.skipif(
    "VALLEYWALK_BOOK" not in os.environ, reason="VALLEYWALK_BOOK names no built book"
)
def test_every_public_name_has_its_place_in_the_rendered_pages(reference):
    pages = sorted(re.findall(r"file: (api/\w+)", (ROOT / "book" / "_toc.yml").read_text()))
    folder = Path(os.environ["VALLEYWALK_BOOK"])
    texts = [(folder / f"{page}.html").read_text(encoding="utf-8") for page in pages]
    places = re.findall(r'id="([\w.]+)"', "".join(texts))
    for name in MODULES:
        for path in reference.public(importlib.import_module(name)):
            assert places.count(path) == 1, path
