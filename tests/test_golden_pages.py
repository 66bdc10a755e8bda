"""While the house is rebuilt: the ledger at quick and overnight, and the table of each page.

From the recorded walks, before and after; to be deleted with the last move. `test_golden` stays.
"""

import json
from pathlib import Path

import pytest

from valleywalk.book.build import scale_of
from valleywalk.folders import checkout
from valleywalk.paper.items import ITEMS
from valleywalk.paper.ledger import as_objects, findings
from valleywalk.walks.store import Store

FILE = Path(__file__).parent / "golden" / "pages.json"
# Its second walk is walked anew each time.
LIVE = {"twin"}


@pytest.fixture(autouse=True)
def recorded(monkeypatch, own_data_folder):
    monkeypatch.setenv("VALLEYWALK_DATA", str(checkout() / "data"))


def table(name):
    page = ITEMS[name].at(scale_of(ITEMS[name], "recorded", Store()))
    return page.table(page.get_traces())


@pytest.mark.parametrize("scale", ["quick", "overnight"])
def test_the_same_findings_as_ever(scale):
    found = json.loads(json.dumps(as_objects(findings(scale))))
    assert found == known()[f"ledger {scale}"]


@pytest.mark.parametrize("name", sorted(ITEMS.keys() - LIVE))
def test_the_same_numbers_as_ever(name):
    assert table(name) == known()[name]


def known():
    return json.loads(FILE.read_text(encoding="utf-8"))
