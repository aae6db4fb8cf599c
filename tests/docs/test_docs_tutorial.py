"""The tutorial, from the recipe it writes to the law it fits, executed as a reader would: some minutes of two cores."""

from __future__ import annotations

from pathlib import Path

import pytest
from manual_pages import TUTORIAL, execute


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_tutorial_comes_out_as_shown(tmp_path: Path) -> None:
    done = execute.execute(TUTORIAL, tmp_path)
    assert not [problem for one in done for problem in execute.problems(one)]
    assert (tmp_path / "runs" / "first" / "scaling_fits.json").is_file()
