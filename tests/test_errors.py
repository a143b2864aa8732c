from __future__ import annotations

import inspect

import pytest

from analytics import errors

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_one_that_the_command_line_knows(kind):
    assert issubclass(kind, errors.AnalyticsError)
    assert kind.__doc__


def test_exit_codes_are_the_documented_ones():
    codes = {kind.__name__: kind.exit_code for kind in ALL}
    assert codes.pop("ConfigError") == 2
    assert codes.pop("ChecksFailed") == 3
    assert codes.pop("LockHeld") == 75
    assert set(codes.values()) == {1}
