"""Errors travel from processes and machines where predictors live."""

from __future__ import annotations

import pickle

import pytest

from adapters.errors import BadFrame, ModelNotFound, PredictorError, RateLimited


@pytest.mark.parametrize(
    "error",
    [
        BadFrame("f1", "f1 is damaged.", hint="Upload it again."),
        RateLimited("Slow down.", retry_after=3.0, hint="Wait."),
        ModelNotFound("There is none.", hint="Look elsewhere."),
    ],
)
def test_an_error_pickles_with_all_that_it_says(error: PredictorError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
