"""What is said about objects that can't be served.  The loader's tests see most of it."""

from __future__ import annotations

import functools
import types

import pytest

from asgibridge.app import refusal
from asgibridge.app.detection import Nature
from asgibridge.app.target import Target


class Shop:
    def run(self) -> None: ...


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (Shop, f"{__name__}:Shop"),
        (Shop(), f"{__name__}:Shop"),
        (Shop.run, f"{__name__}:Shop.run"),
        (functools.partial(Shop().run), "functools:partial"),
        (7, "builtins:int"),
    ],
)
def test_objects_are_named_by_what_defines_them(candidate: object, expected: str) -> None:
    assert expected == refusal.name_of(candidate)


@pytest.mark.parametrize("nature", Nature)
def test_every_nature_is_answered_with_a_next_step(nature: Nature) -> None:
    said = refusal.of_application(Shop().run, nature, "shop:app")

    assert said.startswith(("shop:app ", "the factory shop:app "))
    assert "; " in said


def test_good_factory_is_not_refused() -> None:
    assert refusal.of_factory(Shop().run, "shop:run") is None


def test_long_listings_are_cut() -> None:
    module = types.ModuleType("shop")
    for number in range(20):
        setattr(module, f"name_{number:02}", number)

    said = refusal.no_such_attribute(
        Target(module="shop", attributes=("zzz",)), 0, "shop", module, is_module=False
    )

    assert said.endswith("name_06, name_07, ...)")
