"""Every kind reads what people write, refuses the rest, and shows what it reads back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgibridge.config import kinds

if TYPE_CHECKING:
    from asgibridge.config.kinds import Kind

PORT = kinds.integer(0, 65535)
LEVEL = kinds.choice("debug", "info", "warning")
LIST = kinds.names("ADDRESS", expects="addresses")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("30", 30.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("500ms", 0.5),
        (" 500 MS ", 0.5),
        (45, 45.0),
        (0.25, 0.25),
    ],
    ids=repr,
)
def test_times_are_read_in_seconds(written: object, expected: float) -> None:
    assert kinds.seconds(0).read(written) == expected


@pytest.mark.parametrize(
    "written",
    ["", "x", "5x", "-1", "1e3", "Inf", "NaN", float("+inf"), float("nan"), True, None],
    ids=repr,
)
def test_what_is_not_a_time_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match=r"give a time such as 30, 1\.5, 500ms"):
        kinds.seconds(0).read(written)


def test_a_time_below_the_minimum_names_the_minimum() -> None:
    with pytest.raises(ValueError, match="5ms is too small; give a time of at least 10ms"):
        kinds.seconds(0.01).read("5ms")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("65536", 65536),
        ("64k", 65536),
        ("64K", 65536),
        ("64kb", 65536),
        ("64 KiB", 65536),
        ("1m", 2**20),
        ("1g", 2**30),
        (7, 7),
    ],
    ids=repr,
)
def test_sizes_are_read_in_binary_units(written: object, expected: int) -> None:
    assert kinds.size(0).read(written) == expected


@pytest.mark.parametrize(
    "written", ["", "k", "1.5m", "-1", "1t", "64kk", 1.5, False, None, -1], ids=repr
)
def test_what_is_not_a_size_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="give a number of bytes such as 65536, 64k"):
        kinds.size(0).read(written)


@pytest.mark.parametrize(
    ("written", "expected"), [("8000", 8000), (" 0 ", 0), (65535, 65535)], ids=repr
)
def test_whole_numbers_are_read_up_to_both_bounds(written: object, expected: int) -> None:
    assert PORT.read(written) == expected


@pytest.mark.parametrize(
    "written", ["", "80a", "8.0", 9.0, True, None, "٣", "-1", 65536, "65537"], ids=repr
)
def test_other_numbers_are_refused_with_the_bounds(written: object) -> None:
    with pytest.raises(ValueError, match="give a whole number from 0 to 65535"):
        PORT.read(written)


@pytest.mark.parametrize("written", ["660", "0660", "0o660", 432], ids=repr)
def test_modes_are_read_as_octal(written: object) -> None:
    assert kinds.octal(0o777).read(written) == 0o660


@pytest.mark.parametrize("written", ["rw", "8", "1000", 660, True, None], ids=repr)
def test_what_is_not_a_mode_is_refused(written: object) -> None:
    # 660 as a number is decimal: taken as a mode it would be 0o1224.
    with pytest.raises(ValueError, match="give an octal mode up to 777, such as 660"):
        kinds.octal(0o777).read(written)


@pytest.mark.parametrize("word", ["true", "1", "YES", "on", True], ids=repr)
def test_true_has_several_words(word: object) -> None:
    assert kinds.switch().read(word) is True


@pytest.mark.parametrize("word", ["false", "0", "no", " Off ", False], ids=repr)
def test_false_has_several_words(word: object) -> None:
    assert kinds.switch().read(word) is False


@pytest.mark.parametrize("word", ["", "maybe", 1, 0, None], ids=repr)
def test_other_words_are_neither_true_nor_false(word: object) -> None:
    with pytest.raises(ValueError, match="is neither true nor false; give true or false"):
        kinds.switch().read(word)


def test_choices_ignore_case() -> None:
    assert LEVEL.read(" Info ") == "info"


def test_a_wrong_choice_suggests_the_near_one_and_lists_all() -> None:
    with pytest.raises(
        ValueError,
        match=r"'wraning' is not a choice \(did you mean warning\?\); give debug, info or warning",
    ):
        LEVEL.read("wraning")


def test_a_far_choice_suggests_nothing() -> None:
    with pytest.raises(ValueError, match="'x' is not a choice; give debug"):
        LEVEL.read("x")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a:1", ("a:1",)),
        ("a:1, b:2,", ("a:1", "b:2")),
        (["a:1", " b:2 "], ("a:1", "b:2")),
        (("unix:/a,b",), ("unix:/a,b",)),
        ([], ()),
        ("", ()),
    ],
    ids=repr,
)
def test_lists_are_repeated_or_separated_by_commas(
    written: object, expected: tuple[str, ...]
) -> None:
    assert LIST.read(written) == expected


@pytest.mark.parametrize("written", [5, None, ["a", 5], ["a", ""]], ids=repr)
def test_what_is_not_a_list_of_text_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="give addresses"):
        LIST.read(written)


@pytest.mark.parametrize("written", ["", "  ", 5, None, "a\0b"], ids=repr)
def test_text_is_neither_blank_nor_something_else(written: object) -> None:
    with pytest.raises(ValueError, match="give some text"):
        kinds.text().read(written)


def test_text_may_be_empty_where_that_means_something() -> None:
    assert kinds.text(empty=True).read("") == ""


def test_paths_may_be_path_objects() -> None:
    assert kinds.path().read(Path("a") / "b") == "a/b"


def test_an_application_is_text_or_callable() -> None:
    assert kinds.application().read("a:b") == "a:b"
    assert kinds.application().read(test_paths_may_be_path_objects) is (
        test_paths_may_be_path_objects
    )
    with pytest.raises(ValueError, match="5 is not text; give module:attribute"):
        kinds.application().read(5)


@pytest.mark.parametrize("written", [None, "none", " NONE "], ids=repr)
def test_none_leaves_an_optional_value_out(written: object) -> None:
    assert kinds.optional(kinds.size(0)).read(written) is None


def test_an_optional_value_is_read_as_ever_and_names_its_word() -> None:
    kind = kinds.optional(kinds.size(0))
    assert kind.read("1k") == 1024
    with pytest.raises(ValueError, match="1m or 1g, or none"):
        kind.read("x")


def test_none_is_refused_where_the_server_would_decide_something_else() -> None:
    kind = kinds.optional(kinds.integer(1), "auto")
    assert kind.read("auto") is None
    with pytest.raises(ValueError, match=r"'none' says too little here; give .* or auto"):
        kind.read("none")


def test_a_very_long_value_is_cut_in_messages() -> None:
    with pytest.raises(ValueError, match=r"^'x{50,60}\.\.\. is not a whole number"):
        PORT.read("x" * 10_000)


def test_the_nearest_word_is_found_or_nothing() -> None:
    assert kinds.nearest("prot", ["host", "port"]) == "port"
    assert kinds.nearest("xyzzy", ["host", "port"]) == ""


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (kinds.seconds(0), 75.0, "75s"),
        (kinds.seconds(0), 0.1, "100ms"),
        (kinds.seconds(0), 1.5, "1.5s"),
        (kinds.seconds(0), 0.0, "0s"),
        (kinds.size(0), 65536, "64k"),
        (kinds.size(0), 2**30, "1g"),
        (kinds.size(0), 1000, "1000"),
        (kinds.size(0), 0, "0"),
        (kinds.octal(0o777), 0o660, "0o660"),
        (kinds.switch(), True, "true"),
        (LIST, ("a", "b"), "a,b"),
        (kinds.optional(kinds.size(0)), None, "none"),
        (kinds.optional(kinds.integer(1), "auto"), None, "auto"),
    ],
    ids=repr,
)
def test_values_are_shown_as_people_write_them(kind: Kind[Any], value: object, shown: str) -> None:
    assert kind.show(value) == shown


@given(st.floats(min_value=0, max_value=10**7))
def test_shown_times_read_back_as_the_same(value: float) -> None:
    kind = kinds.seconds(0)
    read = kind.read(value)
    assert kind.read(kind.show(read)) == read


@given(st.integers(min_value=0, max_value=2**50))
def test_shown_sizes_read_back_as_the_same(value: int) -> None:
    kind = kinds.size(0)
    assert kind.read(kind.show(value)) == value


@given(st.text())
def test_no_text_breaks_a_kind_but_with_a_value_error(written: str) -> None:
    every: list[Kind[Any]] = [kinds.seconds(0), kinds.size(0), PORT, kinds.switch(), LEVEL]
    every.append(kinds.octal(0o777))
    for kind in every:
        try:
            value = kind.read(written)
        except ValueError:
            continue
        assert kind.read(kind.show(value)) == value
