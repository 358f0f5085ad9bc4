"""A small real Django project: admin, model, forms, upload, streaming and download.

Its database and files live in the directory that `DJANGO_SITE_DATA` names.
"""
