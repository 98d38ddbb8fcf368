"""Sheets that matplotlib draws, as PNGs."""

import io
from collections.abc import Callable
from typing import Any

SIZE, DPI = (7.0, 4.2), 150  # inches of a sheet, and its pixels an inch


def painted(draw: Callable[[Any], Any], **options: Any) -> bytes:
    """Return as a PNG the sheet that `draw` makes, given pyplot, saved with matplotlib's `options`.

    Whatever `draw` does to pyplot's settings does not last.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with matplotlib.rc_context():
        sheet = draw(plt)
        file = io.BytesIO()
        sheet.savefig(file, format="png", dpi=DPI, metadata={"Software": None}, **options)
        plt.close("all")
    return file.getvalue()
