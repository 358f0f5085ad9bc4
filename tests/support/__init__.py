"""Fakes and drivers that the tests share; each is tested itself."""
