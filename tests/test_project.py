"""The ways to install the project name the same packages in the same versions."""

import ast
import importlib
import json
import re
import subprocess
import tomllib
from importlib.util import find_spec

import pytest
import yaml

from valleywalk.folders import checkout

ROOT = checkout()
CONDA_NAMES = {"pytorch": "torch"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


def requirements():
    extras = [
        needed
        for extra, needed in PROJECT["optional-dependencies"].items()
        # Comparing with others is for those who work on the project itself.
        if extra != "benchmarks"
    ]
    listed = [*PROJECT["dependencies"], *(requirement for extra in extras for requirement in extra)]
    found = {re.split(r"[<>=\[ ]", r)[0]: r for r in listed}
    # An extra may name others of ours.
    return {name: r for name, r in found.items() if name != "valleywalk"}


def test_constraints_pin_every_requirement():
    for name, requirement in requirements().items():
        assert name in CONSTRAINTS, f"{name} is not pinned"
        if "==" in requirement:
            assert requirement == f"{name}=={CONSTRAINTS[name]}"


def test_environment_yml_names_the_same_packages_and_versions():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(entry.split("=") for entry in listed if isinstance(entry, str) and "=" in entry)
    (pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    assert pip[-1] == "-e ."
    versions = {CONDA_NAMES.get(name, name): version for name, version in conda.items()}
    versions |= dict(entry.split("==") for entry in pip[:-1])
    assert versions.pop("python") == "3.11"
    assert versions == {name: CONSTRAINTS[name] for name in requirements()}


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md", "CITATION.cff", "data/README.md"])
def test_usual_files(file):
    assert (ROOT / file).read_text().strip()


def test_versions_agree():
    import valleywalk

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == valleywalk.__version__ == citation["version"]
    assert "arXiv:1802.08770" in (ROOT / "CITATION.cff").read_text()


def test_pictures_that_pages_name_are_under_git():
    """An ignored file is there for its maker alone."""
    pages = [*(ROOT / "book").glob("*.md"), *(ROOT / "book" / "figures").glob("*.md")]
    named = [
        picture
        for page in pages
        for picture in re.findall(r"{(?:image|figure)} (\S+)", page.read_text(encoding="utf-8"))
    ]
    assert "speed/growth.png" in named
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "book"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert all(f"book/{picture}" in listed for picture in named)


def test_benchmarks_name_what_is_there():
    """Their other packages are not installed for tests, but what they take from here must be."""
    taken = 0
    for path in (ROOT / "benchmarks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("valleywalk"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    whole = f"{node.module}.{name.name}"
                    # A module is no attribute of its package before it is imported.
                    assert hasattr(module, name.name) or find_spec(whole), f"{path.name}: {whole}"
                    taken += 1
    assert taken > 10


def test_what_is_cited_is_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    deposit = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert citation["version"] == deposit["version"] == PROJECT["version"]
    assert citation["title"] == deposit["title"]
    assert citation["license"] == deposit["license"] == PROJECT["license"]
    paper = citation["references"][0]["identifiers"][0]["value"]
    assert paper == deposit["related_identifiers"][0]["identifier"]
    assert "doi" not in deposit, "none is given before it is deposited"


def test_the_packages_say_what_the_other_files_say():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    deposit = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert PROJECT["authors"] == citation["authors"] == deposit["creators"]
    assert PROJECT["keywords"] == deposit["keywords"]


def test_each_python_that_is_claimed_is_tested():
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_workflows_take_no_more_than_they_need():
    """Actions are pinned to commits, and no job may write but those that publish."""
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}
        assert workflow["concurrency"]
        for name, job in workflow["jobs"].items():
            publishes = name in ("deploy", "publish")
            assert ("write" in job["permissions"].values()) == publishes, f"{path.name}: {name}"
            for step in job["steps"]:
                if "uses" in step:
                    assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])


def test_links_of_the_readme_work_where_packages_are_shown():
    targets = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert targets
    assert all(target.startswith("https://") for target in targets)


def test_files_that_the_readme_names_are_there():
    named = re.findall(r"`([\w./]+\.(?:md|cff))`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(named) >= 5
    assert all((ROOT / name).is_file() for name in named)
