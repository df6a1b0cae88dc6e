"""Training that a killed process can take up again: one file per run, replaced as a whole."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """The file that keeps the state of one run.

    Parameters
    ----------
    folder : str or path-like
        Folder of checkpoints, made if it is missing.
    fingerprint : str
        Hexadecimal digest of everything that the run depends on. It names the file, so that runs
        with other options or data never meet, as in a grid search.

    Raises
    ------
    OSError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(folder, "c0ffee")
    ...     checkpoint.save({"epoch": 3})
    ...     Checkpoint(folder, "c0ffee").load(), Checkpoint(folder, "facade").load()
    ({'epoch': 3}, None)
    """

    def __init__(self, folder: str | os.PathLike, fingerprint: str) -> None:
        # before training, not after its first epoch
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"The folder of checkpoints {folder} cannot be written to.")
        self.path = Path(folder) / f"{fingerprint}.pt"

    def load(self) -> Any:
        """Return what was saved last, on the CPU, or None.

        Raises
        ------
        ValueError
            If the file is there but cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"The checkpoint {self.path} cannot be read ({error}): remove it to train anew."
            ) from error

    def save(self, state: Any) -> None:
        """Replace the file, so that a process killed at any time leaves the old one or the new.

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
