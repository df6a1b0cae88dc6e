"""Warnings that training gives."""

__all__ = ["TrainingCollapseWarning"]


class TrainingCollapseWarning(UserWarning):
    """Training has mapped all faces to nearly the same embedding."""
