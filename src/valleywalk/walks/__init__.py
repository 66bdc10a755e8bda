"""The paper's walks: what to do, on what data and networks, kept where, computed by whom."""

from ..extras import require

require("paper")
