"""Synthetic and blended faces, pairs of faces, folders of photos, and Labeled Faces in the Wild.

Every function but :func:`make_pairs`, which returns indices, returns a :class:`sklearn.utils.Bunch`
whose ``data`` is the X and whose ``target`` is the y of an estimator. Photos stay paths; estimators
decode them.
"""

from skface.datasets._blending import blend_people
from skface.datasets._folder import load_face_folder
from skface.datasets._lfw import load_lfw_pairs
from skface.datasets._pairs import make_pairs
from skface.datasets._synthetic import make_faces

__all__ = ["blend_people", "load_face_folder", "load_lfw_pairs", "make_faces", "make_pairs"]
