"""The picture of the README: the law of the quickstart, refitted to its measurements, which are kept beside the docs.

python docs/_ext/first_law.py             # draw docs/images/quickstart.png again
python docs/_ext/first_law.py RUNS        # and take the measurements of another training of it from there
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import fvlm

DOCS = Path(__file__).parents[1]
KEPT = DOCS / "measurements" / "first_law"
PICTURE = DOCS / "images" / "quickstart.png"
FITS = "scaling_fits.json"


def refitted() -> fvlm.FitResult:
    """The law of the kept measurements."""
    return fvlm.fit(KEPT, "joint-chinchilla")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        runs = Path(sys.argv[1])
        for file in fvlm.export(KEPT, "quickstart", root=runs):
            if file.suffix == ".png":
                file.unlink()
        shutil.copy(runs / "quickstart" / FITS, KEPT / FITS)  # with what was foreseen, and the floor
    result = refitted()
    result.figure().savefig(PICTURE, dpi=160, metadata={"Software": None})
    print(
        json.dumps(
            result.parameters.set_index("parameter")[["value", "low", "high"]].to_dict("index"), indent=1
        )
    )
