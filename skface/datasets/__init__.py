"""Synthetic and blended faces, pairs of faces, folders of photos, and Labeled Faces in the Wild.

Every function returns a :class:`sklearn.utils.Bunch`. Its ``data`` is the X and its ``target`` the
y of an estimator; :func:`make_pairs` returns ``indices`` of faces instead of ``data``. Photos in
files are given as paths, which estimators decode.
"""

from skface.datasets._blending import blend_people
from skface.datasets._folder import load_face_folder
from skface.datasets._lfw import load_lfw_pairs
from skface.datasets._pairs import make_pairs
from skface.datasets._synthetic import make_faces

__all__ = ["blend_people", "load_face_folder", "load_lfw_pairs", "make_faces", "make_pairs"]
