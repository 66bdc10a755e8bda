"""What the theme and other extensions set and cannot be told otherwise by the configuration."""

import json
import re
from pathlib import Path

from bs4 import BeautifulSoup


def _lines_of_signature(found):
    """One line a parameter, where Sphinx makes a list of definitions without terms."""
    return re.sub(r"<dd>(.*?)</dd>", r'<span class="sig-line">\1</span>', found[1], flags=re.DOTALL)


# What is put for what in every page.
REPLACED = [
    # A browser may not preload a font of a page that it opened from the file system, and complains.
    (re.compile(r'\s*<link rel="preload" as="font"[^>]*>'), ""),
    # A list must have items for a screen reader; the bibliography's entries have another role.
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    # The preview of a citation says it, too.
    (re.compile(r'(<a class="reference[^>]*bibliography\.html#id\d+") title="[^"]*"'), r"\1"),
    # A table that is wider than the page scrolls, and must be reached without a mouse.
    (re.compile(r'<table class="table'), '<table tabindex="0" class="table'),
    # What opens a group of the sidebar needs a name for a screen reader.
    (
        re.compile(r"(>([^<>]+)</a>\s*<details[^>]*>\s*<summary)(?=>)"),
        r'\1 aria-label="Pages of \2"',
    ),
    (
        re.compile(r'(?<=<span class="sig-paren">\(</span>)\s*<dl>(.*?)</dl>', re.DOTALL),
        _lines_of_signature,
    ),
]


def _number_no_figures(app, config):
    # Captions number figures as the paper does; counted numbers would contradict them.
    config["numfig"] = False


def _drop_thebe(app, pagename, templatename, context, doctree):
    # The theme adds this script, from another host, even when it is switched off.
    scripts = context.get("script_files", [])
    context["script_files"] = [
        script
        for script in scripts
        if "thebe" not in str(getattr(script, "filename", script) or "").lower()
        and "thebe" not in str(getattr(script, "attributes", {}).get("body", "")).lower()
    ]


def _drop_edit(app, pagename, templatename, context, doctree):
    # A page made from a notebook has no one file to edit; it links to its notebook.
    if pagename.startswith("figures/"):
        for group in context.get("header_buttons", []):
            if "buttons" in group:
                group["buttons"] = [
                    b for b in group["buttons"] if "/edit/" not in str(b.get("url", ""))
                ]


def _replace_in_pages(app, exception):
    if exception is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            for pattern, put in REPLACED:
                text = pattern.sub(put, text)
            page.write_text(text, encoding="utf-8")


# What the search page loads beside Sphinx's own scripts, which fetch each page that they found to
# show an excerpt. A browser refuses that to a page that it opened from the file system.
TEXTS = "_static/search-texts.js"
ANSWER = "window.fetch = async (address) => new Response(TEXTS[address]);\n"


def _search_texts(app, pagename, templatename, context, doctree):
    if pagename == "search":
        app.add_js_file(Path(TEXTS).name)


def _text_of(page):
    """A page's text, in the parts to which Sphinx's search leads, without any other markup."""
    article = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find("article")
    for dropped in article.select(".headerlink, script, style, svg"):
        dropped.decompose()
    for term in article.select("dt[id] + dd"):
        term["id"] = term.find_previous_sibling("dt")["id"]
        term.insert(0, f"{term.find_previous_sibling('dt').extract().get_text()} ")
    for element in article.find_all(True):
        if element.name in ("section", "dd") and element.get("id"):
            element.attrs = {"id": element["id"]}
        else:
            element.unwrap()
    return f'<div role="main">{" ".join(article.decode_contents().split())}</div>'


def _write_search_texts(app, exception):
    if exception is None and app.builder.format == "html":
        # As Sphinx's script addresses them.
        folder, pages = Path(app.outdir), map(app.builder.get_target_uri, app.env.found_docs)
        texts = {f"./{page}": _text_of(folder / page) for page in pages}
        written = f"const TEXTS = {json.dumps(texts, ensure_ascii=False)};\n{ANSWER}"
        (folder / TEXTS).write_text(written, encoding="utf-8")


def setup(app):
    app.connect("config-inited", _number_no_figures, priority=999)
    app.connect("html-page-context", _drop_thebe, priority=999)
    app.connect("build-finished", _replace_in_pages)
    app.connect("html-page-context", _search_texts)
    app.connect("build-finished", _write_search_texts)
    app.connect("html-page-context", _drop_edit, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
