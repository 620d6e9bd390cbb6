"""Hypothesis without a deadline: a busy machine is no broken law."""

from hypothesis import settings

settings.register_profile("core", deadline=None)
settings.load_profile("core")
