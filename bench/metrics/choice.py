"""Multiple choice: the option that a free-form answer names."""

from tvad.answer import letter

__all__ = ["letter"]
