"""Reading MODULE:ATTRIBUTE."""

from __future__ import annotations

import pytest

from asgibridge.app.target import Target, parse_target
from asgibridge.errors import LoadError


@pytest.mark.parametrize(
    ("text", "module", "attributes"),
    [
        ("main:app", "main", ("app",)),
        ("shop.wsgi:application", "shop.wsgi", ("application",)),
        ("main:state.app.asgi", "main", ("state", "app", "asgi")),
        ("main", "main", ()),
        ("shop.main", "shop.main", ()),
        ("  main:app\n", "main", ("app",)),
        ("my-app:app", "my-app", ("app",)),  # importlib takes it, although a statement can't
    ],
)
def test_target_is_a_module_and_attributes(
    text: str, module: str, attributes: tuple[str, ...]
) -> None:
    target = parse_target(text)

    assert Target(module=module, attributes=attributes) == target
    assert text.strip() == str(target)


@pytest.mark.parametrize(
    ("slip", "advice"),
    [
        ("", "write MODULE:ATTRIBUTE, for example main:app"),
        ("   ", "write MODULE:ATTRIBUTE, for example main:app"),
        (":app", "write MODULE:ATTRIBUTE"),
        ("main:", "write MODULE:ATTRIBUTE"),
        ("main:app:more", "write MODULE:ATTRIBUTE"),
        ("main:app.", "'app.' is not the name of an attribute"),
        ("main:my-app", "'my-app' is not the name of an attribute"),
        (".main:app", "'.main' is not the full name of a module"),
        ("shop..main:app", "'shop..main' is not the full name of a module"),
        ("main app", "'main app' is not the full name of a module"),
        ("main\0:app", "is not the full name of a module"),
        ("app.py", "write app:app"),
        ("app.py:app", "write app:app"),
        ("main.py:server", "write main:server"),
        ("path/to/app", "write path.to.app:app"),
        ("./path/to/app.py:api", "write path.to.app:api"),
        ("path\\to\\app.py", "write path.to.app:app"),
        ("shop/__init__.py:app", "write shop:app"),
        ("/srv/shop/main.py:app", "write --app-dir /srv/shop main:app"),
        ("../shop/main.py", "write --app-dir ../shop main:app"),
        ("main:create_app()", "write --factory main:create_app"),
        ("main:apps.create()", "write --factory main:apps.create"),
        ("main:create_app('x')", "write a function without arguments that calls create_app"),
    ],
)
def test_usual_slips_are_answered_with_what_to_write(slip: str, advice: str) -> None:
    with pytest.raises(LoadError) as caught:
        parse_target(slip)

    assert advice in str(caught.value)
