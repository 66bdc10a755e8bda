"""What the theme and other extensions set and cannot be told otherwise by the configuration."""


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


def setup(app):
    app.connect("config-inited", _number_no_figures, priority=999)
    app.connect("html-page-context", _drop_thebe, priority=999)
    app.connect("html-page-context", _drop_edit, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
