"""Pages of the book as files of their own."""

import pytest

pytest.importorskip("latex2mathml", reason="needs the extra: course")

from valleywalk.book.handout import Book, Handout, mathml, questions_of, sections
from valleywalk.folders import checkout


@pytest.fixture
def handout():
    return Handout(Book(checkout() / "book"))


@pytest.mark.parametrize(
    ("role", "shown"),
    [
        ("{ref}`Figure 1 <fig1>`", "Figure 1"),
        ("{doc}`since`", "<em>What came after</em>"),
        ("{doc}`/reading`", "<em>How to read it</em>"),
        ("{doc}`/figures/appd`", "<em>Appendix D</em>"),
        ("{doc}`for a course <course>`", "for a course"),
        ("{term}`floor <valley floor>`", "floor"),
        ("{term}`height`", "height"),
        ("{cite:t}`xing2018walk`", "Xing et al. (2018)"),
        ("{cite:p}`hu2024minicpm,hagele2024scaling`", "(Hu et al. 2024; Hägele et al. 2024)"),
        ("{cite:t}`andreyev2024stochastic`", "Andreyev and Beneventano (2024)"),
    ],
)
def test_a_role_becomes_its_text(handout, role, shown):
    assert handout.html(f"See {role}.") == f"<p>See {shown}.</p>\n"
    assert "`" not in handout.plain(role)


def test_formulas_are_numbered_as_they_come_and_foreign_ones_are_shown_once(handout):
    first = handout.html(
        "```{math}\n:label: valley\nL = x^2\n```\n\nBy {eq}`valley`, {eq}`segment`."
    )
    assert first.count('class="formula"') == 2
    assert "By (1), (2)." in first
    assert first.index("By (1)") < first.index("(2)</span>"), "under what speaks of it"
    second = handout.html("Again {eq}`segment` and {eq}`valley`.")
    assert second == "<p>Again (2) and (1).</p>\n"


def test_a_formula_is_mathml_that_browsers_draw():
    block = mathml("\\mathbb E\n\\frac12", block=True)
    assert 'display="block"' in block
    assert "𝔼" in block
    assert "double-struck" not in block
    assert "\n" not in block, "a blank line would end the HTML"
    assert 'display="inline"' in mathml("x", block=False)


def test_what_only_a_book_can_do_is_left_out(handout):
    text = (
        "% On the slide:\n% - point\n\n(label)=\n```{raw} html\n<p>script</p>\n```\n\n50 % of $x$\n"
    )
    shown = handout.html(text)
    for word in ("slide", "point", "label", "script", "$"):
        assert word not in shown
    assert shown.startswith("<p>50 % of <")


def test_a_box_has_its_title_and_its_markdown(handout):
    box = ":::{admonition} To <do>\n:class: goals\n:name: here\n- *one*\n:::\n\nAfter.\n"
    shown = handout.html(box)
    assert '<div class="goals">\n<p class="title">To &lt;do&gt;</p>' in shown
    assert "<li><em>one</em></li>" in shown
    assert shown.index("</div>") < shown.index("After.")
    assert "name" not in shown


def test_sections_and_questions_of_a_chapter():
    text = (
        "# Title\n\nFirst.\n\n## One\n\nText.\n\n## Two\n\n:::{admonition} Exercise\n"
        ":class: exercise\n:name: exercise-a-1\nHow *far*?\n\n{ref}`Answer <answer-a-1>`\n:::\n"
    )
    assert [title for title, _ in sections(text)] == ["One", "Two"]
    assert dict(sections(text))["One"] == "\nText.\n\n"
    assert questions_of(text) == ["How *far*?"]
