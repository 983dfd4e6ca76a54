import pytest

from mmtl.score_maps.manifest import setting_difference


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1, "b": 2}, {"a": 1}, "b (2 / None)"),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 3, "d": 2}}}, "a.b.c (1 / 3)"),
        ({"a": "x" * 200 + "1"}, {"a": "x" * 200 + "2"}, f"a (...{'x' * 20}1 / ...{'x' * 20}2)"),
    ],
)
def test_a_difference_shows_the_part_that_differs(old, new, expected):
    """Guards: both values were cut at 77 characters, where they were often equal."""
    assert setting_difference(old, new) == expected
