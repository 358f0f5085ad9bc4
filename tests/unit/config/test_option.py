"""One declaration gives a setting all its names, and reads all its values."""

from __future__ import annotations

from dataclasses import dataclass

from asgibridge.config.kinds import integer, switch
from asgibridge.config.option import Group, Names, convert, option, options_of

GROUP = Group(title="Group", intro="For tests.")


@dataclass(frozen=True, kw_only=True)
class Example:
    max_things: int = option(
        integer(1, 9),
        5,
        group=GROUP,
        help="What it does.",
        reason="Why 5.",
        names=Names(short="-m", environment="THINGS"),
    )
    use_things: bool = option(switch(), True, group=GROUP, help="Use them.")  # noqa: FBT003 - a default, as everywhere


OPTIONS = options_of(Example)


def test_names_derive_from_the_field() -> None:
    things, use = OPTIONS.values()
    assert (things.name, things.flag, things.environment) == (
        "max_things",
        "--max-things",
        "ASGIBRIDGE_MAX_THINGS",
    )
    assert (use.flag, use.off_flag) == ("--use-things", "--no-use-things")


def test_the_declaration_is_kept_whole() -> None:
    things = OPTIONS["max_things"]
    assert (things.help, things.reason, things.group) == ("What it does.", "Why 5.", GROUP)
    assert (things.names.short, things.names.environment) == ("-m", "THINGS")
    assert things.shown_default == "5"


def test_the_default_of_the_field_is_the_declared_one() -> None:
    assert Example().max_things == 5
    assert Example(max_things=6).max_things == 6


def test_a_positional_setting_is_called_by_its_place() -> None:
    @dataclass
    class Positional:
        thing: int = option(
            integer(1, metavar="THING"), 1, group=GROUP, help="", names=Names(is_positional=True)
        )

    assert options_of(Positional)["thing"].flag == "THING"


def test_all_values_are_converted_and_all_mistakes_kept() -> None:
    clean, mistakes = convert(
        OPTIONS, {"max_things": "12", "use_things": "perhaps"}, place="flag {}".format
    )
    assert clean == {}
    assert mistakes == [
        "flag max_things: 12 is too large; give a whole number from 1 to 9",
        (
            "flag use_things: 'perhaps' is neither true nor false; give true or false "
            "(yes, no, on, off, 1 and 0 will do)"
        ),
    ]


def test_right_values_survive_beside_wrong_ones() -> None:
    clean, mistakes = convert(OPTIONS, {"max_things": "7", "use_things": "perhaps"}, place=str)
    assert clean == {"max_things": 7}
    assert len(mistakes) == 1
