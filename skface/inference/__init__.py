"""Running a fixed network: how it wants its images, and what runs it fastest on this machine."""

from skface.inference._preprocessing import Preprocessing

__all__ = ["Preprocessing"]
