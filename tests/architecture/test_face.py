"""What `import mmsearch` offers: the collection, its results, every error, the version."""

from __future__ import annotations

import pytest

import mmsearch
from mmsearch.base import errors


def test_the_face_has_every_error_and_what_makes_and_answers_questions() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert set(mmsearch.__all__) == {"Collection", "Hit", "__version__", *kinds}
    assert set(mmsearch.__all__) <= set(dir(mmsearch))
    for name in mmsearch.__all__:
        assert getattr(mmsearch, name) is not None
    assert mmsearch.MMSearchError is errors.MMSearchError


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'search'"):
        mmsearch.search  # noqa: B018
