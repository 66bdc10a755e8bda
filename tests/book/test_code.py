"""The code that the prose shows, run as it stands."""

import re

import matplotlib.pyplot as plt
import pytest

from valleywalk.folders import checkout

PAGES = ["training"]


@pytest.mark.parametrize("name", PAGES)
def test_code_in_the_prose_runs(name, capsys):
    text = (checkout() / "book" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, f"{name}.md", "exec"), names)
    assert len(names["trace"]["iteration"]) == 30
    assert len(names["figure"].axes) == 3
    assert 0 < names["recorder"].trace["turned"].mean() < 1
    assert " of 30" in capsys.readouterr().out
    plt.close("all")
