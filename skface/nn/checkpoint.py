"""Checkpoints of training: one file per run, replaced atomically."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

__all__ = ["Checkpoint"]


class Checkpoint:
    """The file that holds the state of one training run.

    Parameters
    ----------
    folder : str or path-like
        Folder of checkpoints, created if it is missing.
    fingerprint : str
        Hexadecimal digest of everything that the run depends on. It is the name of the file, so
        that runs with other options or data, as in a grid search, have files of their own.

    Raises
    ------
    OSError
        If the folder cannot be created or written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(folder, "c0ffee")
    ...     checkpoint.save({"epoch": 3})
    ...     Checkpoint(folder, "c0ffee").load(), Checkpoint(folder, "facade").load()
    ({'epoch': 3}, None)
    """

    def __init__(self, folder: str | os.PathLike[str], fingerprint: str) -> None:
        # Fail before training rather than after its first epoch.
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"The folder of checkpoints {folder} cannot be written to.")
        self.path = Path(folder) / f"{fingerprint}.pt"

    def load(self) -> Any:
        """Read the state that was saved last.

        Returns
        -------
        dict or None
            The state, with its tensors on the CPU; None if nothing was saved.

        Raises
        ------
        ValueError
            If the file exists but cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"The checkpoint {self.path} cannot be read ({error}): remove it to train from the "
                "start."
            ) from error

    def save(self, state: Any) -> None:
        """Replace the file atomically: a process killed at any time leaves the old or the new one.

        Parameters
        ----------
        state : dict
            Nested dicts and lists of tensors, numbers and strings.
        """
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
