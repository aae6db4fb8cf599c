"""Still pictures to frames: from files, archives and tables."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.interfaces.data import Fit, ImageFile
from fvlm_core.media.archive_members import open_member
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.pictures import MAX_BYTES, fit_square, letterbox, open_picture, to_rgb
from fvlm_core.utils.data_files import open_data


def decode_still(still: ImageFile, size: int) -> NDArray[np.uint8]:
    """One picture: uint8 RGB [size, size, 3], turned upright as its EXIF data say, made square as `still.fit` says.

    Raises `BadSample`: not there, not a picture, larger than 50 million pixels, cut short or corrupt.
    """
    try:
        return fit_still(open_picture(_content(still)), size, still.fit)
    except (OSError, ValueError) as error:
        place = f"{still.name}: " if still.name else ""
        raise BadSample(still.path, f"{place}{getattr(error, 'strerror', None) or error}") from error


def fit_still(image: Image.Image, size: int, fit: Fit) -> NDArray[np.uint8]:
    """A picture that is open already, as `decode_still` would give it. Raises ValueError: larger than 50 million
    pixels, cut short or corrupt."""
    upright = to_rgb(image)
    square = letterbox(upright, size) if fit == "letterbox" else fit_square(upright, size)
    return cast(NDArray[np.uint8], np.asarray(square))


def _content(still: ImageFile) -> bytes:
    if still.data is not None:
        content = still.data
    else:
        with open_member(still.member) if still.member else open_data(still.path) as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MB")
    return content
