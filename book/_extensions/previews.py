"""What sphinx-tippy needs to preview, offline, what a link leads to."""

import re
from pathlib import Path

# Popper 2.11.8 and Tippy.js 6.3.7 as published on npm, with their licences, and their settings.
# Not in _static, from which jupyter-book puts every script in every page, in any order.
SCRIPTS = Path(__file__).parents[1] / "previews"


def _scripts(app, config):
    config.html_static_path.append(str(SCRIPTS))


def _tips(app, exception):
    """A figure for its page; whole lists; pictures that load when shown; no id twice."""
    for name, page in getattr(app.env, "tippy_data", {"pages": {}})["pages"].items():
        tips, item = page["id_to_html"], Path(name).name
        if f"{item}-figure" in tips:
            tips[None] = tips[page["element_id_map"][item]] = tips[f"{item}-figure"]
        for target, tip in tips.items():
            tip = f"<dl>{tip}</dl>" if tip.startswith("<dt") else tip
            tip = tip.replace("<img ", '<img loading="lazy" ')
            tips[target] = re.sub(r' id="[^"]*"', "", tip)


def setup(app):
    app.connect("config-inited", _scripts)
    # Before sphinx-tippy writes them.
    app.connect("build-finished", _tips, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
