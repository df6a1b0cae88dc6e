"""Faces, and transformers that count them, for the tests of the cache."""

import numpy as np
import PIL.Image
from torch import nn

from skface import make_faces
from skface._utils.per_process import STORE

FACES = make_faces(n_identities=5, n_images_per_identity=4, image_size=16, random_state=0)
SLOTS = np.random.default_rng(0).integers(0, 20, (30, 2))

SEEN = []  # how many faces each call of a counting function was given


def mean_color(X):
    SEEN.append(len(X))
    return X.reshape(len(X), -1, 3).mean(axis=1)


def counting_detector(photo):
    SEEN.append(1)
    return [[0, 0, 16, 16, 5, 6, 10, 6, 8, 8, 6, 11, 10, 11, 0.9]]


def detect_unless_black(photo):
    return [] if not photo.any() else [[0, 0, 16, 16, 5, 6, 10, 6, 8, 8, 6, 11, 10, 11, 0.9]]


def tiny_network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


def save(pixels, path):
    """Write a face to a file; all files of one image size have one size."""
    PIL.Image.fromarray(pixels).save(path, compress_level=0)


def forget_process():
    """Drop what this process keeps between calls, as if another had started."""
    STORE.clear()
