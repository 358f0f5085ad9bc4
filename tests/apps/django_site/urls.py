"""Where everything is."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("notes/", views.notes),
    path("upload/", views.upload),
    path("stream/", views.stream),
    path("release/", views.release),
    path("download/", views.download),
    path("broken/", views.broken),
]
