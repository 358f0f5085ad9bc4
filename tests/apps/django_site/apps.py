"""The one Django application of the site."""

# mypy: disable-error-code="misc"
# Django ships no types.

from __future__ import annotations

from django.apps import AppConfig


class DjangoSite(AppConfig):
    name = "django_site"
