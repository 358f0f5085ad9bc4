"""What the admin shows."""

# mypy: disable-error-code="import-untyped"
# Django ships no types.

from __future__ import annotations

from django.contrib import admin

from .models import Note

admin.site.register(Note)
