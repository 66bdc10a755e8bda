"""Keep pages free of other hosts: drop the Thebe script, which the theme adds even when off."""


def _drop_thebe(app, pagename, templatename, context, doctree):
    scripts = context.get("script_files", [])
    context["script_files"] = [
        script
        for script in scripts
        if "thebe" not in str(getattr(script, "filename", script) or "").lower()
        and "thebe" not in str(getattr(script, "attributes", {}).get("body", "")).lower()
    ]


def setup(app):
    app.connect("html-page-context", _drop_thebe, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
