"""What real sites do: forms, uploads, streams, downloads, and a mistake."""

# mypy: disable-error-code="misc, untyped-decorator"
# Django ships no types.

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import TYPE_CHECKING

from django import forms
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.views.decorators.csrf import csrf_exempt

from .models import Note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django.http import HttpRequest

# Seconds.  Bounds a stream whose client never releases it.
PATIENCE = 20.0
PAGE = """
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
<form method="post">{% csrf_token %}{{ form }}</form>
"""

_released = threading.Event()


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ("text",)


def notes(request: HttpRequest) -> HttpResponse:
    """List the notes, and take a new one from a form that CSRF protects."""
    form = NoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("/notes/")
    page = engines["django"].from_string(PAGE)
    context = {"notes": Note.objects.order_by("pk"), "form": form}
    return HttpResponse(page.render(context, request))


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    """Answer what was uploaded; a file of this size goes through a temporary one."""
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse(
        {
            "name": file.name,
            "size": file.size,
            "sha256": digest.hexdigest(),
            "comment": request.POST["comment"],
        }
    )


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream lines; all but the first wait until another request has released them.

    Without streaming the client would wait for the first line and never release the others.
    """
    _released.clear()
    lines = _lines_later() if isinstance(request, ASGIRequest) else _lines()
    return StreamingHttpResponse(lines, content_type="text/plain")


def _lines() -> Iterator[str]:
    yield "line 0\n"
    _released.wait(PATIENCE)
    for number in range(1, 1000):
        yield f"line {number}\n"


async def _lines_later() -> AsyncIterator[str]:
    yield "line 0\n"
    await asyncio.to_thread(_released.wait, PATIENCE)
    for number in range(1, 1000):
        yield f"line {number}\n"


def release(_request: HttpRequest) -> HttpResponse:
    """Let the stream go on."""
    _released.set()
    return HttpResponse("released")


def download(_request: HttpRequest) -> FileResponse:
    """Send a file from the disk, through `wsgi.file_wrapper` where there is one."""
    path = settings.DATA / "report.bin"
    return FileResponse(path.open("rb"), as_attachment=True, filename="report.bin")


def broken(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the boiler of the Django site leaks")
