"""Text that is not ours, to stand in Markdown: names of folders, what traces of others say."""

import re
from html import unescape

# What Markdown, MyST or HTML read as more than a sign.
SIGNS = re.compile(r"""[<>&"'`*_{}\[\]$\\|~^@!:#=]""")
# Before a number, where it joins nothing.
HYPHEN = re.compile(r"(?<![\w.)-])-(?=[\d.])")
# What begins a list at the beginning of a line.
FIRST = re.compile(r"^(\d*)([-+.)])(?=\s|$)")
# What shows its text, or leads from it elsewhere.
ROLE = re.compile(r"\{\w+\}`([^`<]*?)(?: <[^>]*>)?`")
MARKS = re.compile(r"[*`$\\{}]")


def plain(text: object) -> str:
    """A text as one line of Markdown that shows it as it stands, and does nothing else.

    Parameters
    ----------
    text : object
        Its `str` is taken. What cannot be printed, such as signs that turn the direction of
        writing, becomes �.

    Examples
    --------
    >>> from valleywalk.markdown import plain
    >>> plain("CPU (AMD EPYC)")
    'CPU (AMD EPYC)'
    >>> plain("<b>a_b")
    '&#60;b&#62;a&#95;b'
    """
    line = " ".join(str(text).split())
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    escaped = SIGNS.sub(lambda sign: f"&#{ord(sign[0])};", shown)
    return FIRST.sub(lambda first: f"{first[1]}&#{ord(first[2])};", escaped)


def without_marks(text: str) -> str:
    """Markdown as one line of plain text, such as for who cannot see a picture.

    Examples
    --------
    >>> from valleywalk.markdown import plain, without_marks
    >>> without_marks(f"*Walked* on `photos`, see {{ref}}`Figure 2 <fig2>`: {plain('a_b')}")
    'Walked on photos, see Figure 2: a_b'
    """
    return unescape(" ".join(MARKS.sub("", ROLE.sub(r"\1", text)).split()))


def with_minus(text: str) -> str:
    """With the sign of subtraction, as prose has it, for the hyphen before a number.

    Examples
    --------
    >>> from valleywalk.markdown import with_minus
    >>> with_minus("-0.2 [-0.3, -0.1] on cifar10-2, 5e-16")
    '−0.2 [−0.3, −0.1] on cifar10-2, 5e-16'
    """
    return HYPHEN.sub("−", text)


def fenced(text: str, language: str) -> str:
    """A block of code in Markdown, with a fence that is longer than any in it.

    Parameters
    ----------
    text : str
    language : str

    Examples
    --------
    >>> from valleywalk.markdown import fenced
    >>> print(fenced("1 + 1", "python"))
    ```python
    1 + 1
    ```
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.removesuffix(chr(10))}\n{fence}"
