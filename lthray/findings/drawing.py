"""Sheets that matplotlib draws: a PNG to look at, an SVG for a page, a PDF for a paper."""

import io
from collections.abc import Callable
from typing import Any

SIZE, DPI = (7.0, 4.2), 150  # inches of a sheet, and pixels an inch of its PNG
# what a file would say of the moment and the machine is left out, so that it is always the same
UNSAID: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
# fonts that an editor of PDFs can use, and names in an SVG that are always the same
SETTINGS: Any = {"svg.hashsalt": "lthray", "pdf.fonttype": 42}


def painted(draw: Callable[[Any], Any], **options: Any) -> dict[str, bytes]:
    """Return the sheet that `draw` makes, given pyplot: end of a file's name -> PNG, SVG and PDF.

    `options` are those of matplotlib's savefig. Whatever `draw` does to pyplot's settings does not
    last.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    files = {}
    with matplotlib.rc_context(SETTINGS):
        sheet = draw(plt)
        for kind, unsaid in UNSAID.items():
            file = io.BytesIO()
            sheet.savefig(file, format=kind, dpi=DPI, metadata=unsaid, **options)
            files[f".{kind}"] = file.getvalue()
        plt.close("all")
    return files
