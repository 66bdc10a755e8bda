"""What must not change unnoticed: the walks of every page and of the ledger, at every scale.

A hash names an experiment, and with it a recorded walk. To see what changed, compare
`valleywalk show ITEM --scale S` before and after. To write the file anew, where a page is meant to
walk something else: `python tests/test_golden.py`.
"""

import hashlib
import json
from pathlib import Path

import pytest

from valleywalk.paper.items import ITEMS
from valleywalk.paper.protocol import all_experiments
from valleywalk.paper.scales import JUDGED, SCALES

FILE = Path(__file__).parent / "golden" / "experiments.json"


def together(experiments):
    """One hash of the hashes of experiments, in their order, and how many there are."""
    names = " ".join(experiment.hash for experiment in experiments)
    return [len(experiments), hashlib.sha256(names.encode()).hexdigest()[:16]]


def found(scale):
    """Of each page, and of the ledger."""
    there = [item for item in ITEMS.values() if scale in item.scales]
    pages = {item.name: together(item.experiments(scale)) for item in there}
    return pages | ({"ledger": together(all_experiments(scale))} if scale in JUDGED else {})


@pytest.mark.parametrize("scale", SCALES)
def test_the_same_walks_as_ever(scale):
    assert found(scale) == json.loads(FILE.read_text(encoding="utf-8"))[scale]


if __name__ == "__main__":
    text = json.dumps({scale: found(scale) for scale in SCALES}, indent=1)
    FILE.write_text(text + "\n", encoding="utf-8")
