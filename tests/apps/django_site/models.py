"""A model for the admin and the form."""

# mypy: disable-error-code="misc"
# Django ships no types.

from __future__ import annotations

from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=200)

    def __str__(self) -> str:
        return str(self.text)
