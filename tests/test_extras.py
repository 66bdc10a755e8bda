"""What is installed with the package alone, and what extras bring."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from valleywalk.extras import PACKAGES, require
from valleywalk.folders import checkout

ROOT = checkout()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE = ROOT / "src" / "valleywalk"
# What comes with a package of ours, and is used beside it.
BROUGHT = {"cycler": "matplotlib", "IPython": "ipykernel", "matplotlib_inline": "ipykernel"}
BROUGHT |= {
    "psutil": "ipykernel",
    "nbformat": "papermill",
    "traitlets": "nbgrader",
    "pytorch_lightning": "lightning",
}
# What xarray and matplotlib need too, or look for.
ALWAYS_THERE = {"distributed", "yaml", "pandas", "PIL"}


def normal(name):
    """A distribution's name as it is compared."""
    return name.lower().replace("_", "-")


def named(requirements):
    """Names of packages, without those of our own extras."""
    names = (re.split(r"[<>=\[ ]", requirement)[0] for requirement in requirements)
    return {name for name in names if name != "valleywalk"}


def with_extras(*extras):
    """Names of the packages that are there with some extras, and those that they bring."""
    found = named(PROJECT["dependencies"])
    for extra in extras:
        needed = PROJECT["optional-dependencies"][extra]
        found |= named(needed)
        for own in (each for each in needed if each.startswith("valleywalk[")):
            found |= with_extras(*own.removeprefix("valleywalk[").removesuffix("]").split(","))
    return found


@pytest.mark.parametrize("extra", PACKAGES)
def test_the_packages_of_an_extra_are_those_of_the_project(extra):
    distributions = {k: {normal(each) for each in v} for k, v in packages_distributions().items()}
    here = set().union(*(distributions[name] for name in PACKAGES[extra]))
    needed = named(PROJECT["optional-dependencies"][extra])
    # It is found by Sphinx, by its path.
    assert here == needed - {"sphinx-mathjax-offline"}


def modules():
    """Each module, and the extras that it may need."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name.startswith("book/"):
            extras = ["course"] if name in ("book/course.py", "book/handout.py") else ["book"]
        elif name == "walks/progress.py":
            # Of a kernel, it looks at what started it.
            extras = ["notebooks"]
        elif name == "walks/cluster.py":
            extras = ["cluster"]
        elif name.startswith(("walks/", "paper/")) or name in (
            "cli.py",
            "show.py",
            "tail.py",
            "folders.py",
            "torchvision_compat.py",
            # Holm's adjustment is the ledger's.
            "seeds.py",
        ):
            extras = ["paper"]
        else:
            extras = (
                [name.removesuffix(".py")] if name in ("lightning.py", "huggingface.py") else []
            )
        yield pytest.param(path, extras, id=name)


def imported(tree):
    """Names of the packages that a module imports, wherever it does, not for types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        yield from (name.split(".")[0] for name in names)


@pytest.mark.parametrize(("path", "extras"), modules())
def test_a_module_imports_what_its_extra_brings(path, extras):
    distributions = packages_distributions()
    there = with_extras(*extras)
    for name in set(imported(ast.parse(path.read_text(encoding="utf-8")))):
        if name in sys.stdlib_module_names or name == "valleywalk":
            continue
        known = {BROUGHT.get(name, name), *map(normal, distributions.get(name, ()))}
        assert known & there, f"{name} comes with none of {extras}"


def test_it_says_all_that_is_missing_of_an_extra(monkeypatch):
    require("cluster")
    for name in ("tqdm", "tyro"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        require("paper")
    assert str(caught.value) == (
        "tqdm, tyro are missing; install what this needs with: pip install 'valleywalk[paper]'"
    )
    assert caught.value.name == "tqdm"


LACKING = "import sys\n" + "".join(
    f"sys.modules[{name!r}] = None\n"
    for names in PACKAGES.values()
    for name in names
    if name not in ALWAYS_THERE
)
ALONE = (ROOT / "tests" / "alone.py").read_text(encoding="utf-8")


def test_the_package_alone_watches_a_loop_and_names_the_extra_for_the_rest():
    process = subprocess.run(
        [sys.executable, "-c", LACKING + ALONE], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    said = process.stdout.splitlines()[-1]
    assert said.startswith("valleywalk: filelock, mlxtend, platformdirs, pydantic")
    assert said.endswith("install what this needs with: pip install 'valleywalk[paper]'")
