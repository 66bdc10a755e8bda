"""What the API pages are made of: the public names of a module, and tables of names.

In an `eval-rst` block of a page:

    .. api:: valleywalk.probes          all public names of a module or of a package's modules
    .. modules:: valleywalk.paper       a package's modules, a line each
    .. variables::                      the variables of a trace
    .. shortcuts::                      what `import valleywalk` gives
"""

import functools
import importlib
import inspect
import pkgutil
import re
import sys

from docutils import nodes
from docutils.statemachine import StringList
from numpydoc.docscrape_sphinx import SphinxDocString
from sphinx.util.docutils import SphinxDirective

import valleywalk
from valleywalk.trace import VARIABLES


def submodules(package):
    """A module and, if it is a package, those in it."""
    inside = pkgutil.walk_packages(getattr(package, "__path__", []), f"{package.__name__}.")
    return [package, *(importlib.import_module(found.name) for found in inside)]


def public(module):
    """Public functions and classes that are defined in a module: path → thing.

    Those that `valleywalk` itself exports come first, by the path by which a user imports them;
    the others in the order of the source.
    """
    paths = {}
    for name, thing in vars(module).items():
        callable_here = callable(thing) and getattr(thing, "__module__", "") == module.__name__
        if callable_here and not name.startswith("_"):
            exported = getattr(valleywalk, name, None) is thing
            paths[f"{'valleywalk' if exported else module.__name__}.{name}"] = thing
    return dict(sorted(paths.items(), key=lambda pair: pair[0].count(".") > 1))


def documented(thing):
    """How autodoc calls its kind."""
    if not inspect.isclass(thing):
        return "function"
    return "exception" if issubclass(thing, BaseException) else "class"


def _reached(path):
    """What the path of a module leads to from `valleywalk` on."""
    return functools.reduce(getattr, path.split(".")[1:], valleywalk)


def first_line(thing):
    """Its docstring's first sentence."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


class Api(SphinxDirective):
    """The docstrings of a module's public names."""

    required_arguments = 1

    def run(self):
        lines = []
        for module in submodules(importlib.import_module(self.arguments[0])):
            names = public(module)
            if not names:
                continue
            # `valleywalk.watch` is the class, as it is for who imports it.
            if sys.modules[module.__name__] is _reached(module.__name__):
                lines += [f".. py:module:: {module.__name__}", ""]
            if module.__name__ != self.arguments[0]:
                lines += [f".. rubric:: {module.__name__}", ""]
            text = str(SphinxDocString(inspect.getdoc(module)))
            lines += [*escaped(text.splitlines()), ""]
            for path, thing in names.items():
                lines += [f".. auto{documented(thing)}:: {path}", ""]
        return parsed(self, lines)


class Modules(SphinxDirective):
    """A package's modules with their docstrings' first lines."""

    required_arguments = 1

    def run(self):
        rows = [
            (f"``{module.__name__}``", first_line(module))
            for module in submodules(importlib.import_module(self.arguments[0]))
        ]
        return parsed(self, table(("module", "what is in it"), rows))


class Variables(SphinxDirective):
    """The variables of a trace."""

    def run(self):
        rows = [
            (f"``{name}``", ", ".join(dimensions), units, long_name)
            for name, (dimensions, units, long_name) in VARIABLES.items()
        ]
        return parsed(self, table(("variable", "dimensions", "units", "what it is"), rows))


class Shortcuts(SphinxDirective):
    """What the package itself exports."""

    def run(self):
        rows = []
        for name in valleywalk.__all__:
            thing = getattr(valleywalk, name)
            role = "mod" if inspect.ismodule(thing) else "obj"
            rows.append((f":py:{role}:`valleywalk.{name}`", first_line(thing)))
        return parsed(self, table(("name", "what it is"), rows))


def table(header, rows):
    """Lines of a list table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (header, *rows):
        for number, cell in enumerate(escaped(row)):
            lines.append(f"   {' ' if number else '*'} - {cell}")
    return lines


def parsed(directive, lines):
    """The nodes of lines of reStructuredText."""
    node = nodes.container()
    source = directive.get_source_info()[0]
    directive.state.nested_parse(StringList(lines, source), 0, node)
    return node.children


def escaped(lines):
    """In docstrings |x| is a size, where reStructuredText would put something else in its place."""
    return [line if ">>>" in line else re.sub(r"\|", r"\\|", line) for line in lines]


def _escape(app, what, name, obj, options, lines):
    lines[:] = escaped(lines)


def _skip(app, what, name, obj, skip, options):
    # What Python says of a named tuple's field stands in our docstring in better words.
    return True if "Alias for field number" in (getattr(obj, "__doc__", "") or "") else None


def setup(app):
    for name, directive in (
        ("api", Api),
        ("modules", Modules),
        ("variables", Variables),
        ("shortcuts", Shortcuts),
    ):
        app.add_directive(name, directive)
    app.connect("autodoc-process-docstring", _escape)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
