"""The book: notebooks executed and bound, recorded walks, what runs in its pages."""

from ..extras import require

require("notebooks")
