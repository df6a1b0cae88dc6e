"""Networks and losses that train in no time, and what tests ask of them."""

import pickle
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from skface import FaceNetEmbedder


def tiny_network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(108, 16))


def tiny(kind=FaceNetEmbedder, **params):
    params = {"max_epochs": 2, "random_state": 0, **params}
    return kind(tiny_network, None, **params)


def weights_of(estimator):
    return np.concatenate([values.ravel() for values in estimator.weights_.values()])


def clone_with(estimator, **params):
    copied = pickle.loads(pickle.dumps(estimator))
    return copied.set_params(**params)


def spread(embeddings, labels):
    """A loss: embeddings far from each other."""
    return -torch.pdist(embeddings).mean()


class CountedLoss:
    """A loss that counts its calls, which are the steps of training."""

    n_calls = 0

    def __call__(self, embeddings, labels):
        CountedLoss.n_calls += 1
        return spread(embeddings, labels)

    def __deepcopy__(self, memo):
        return self


class RecordingNetwork(nn.Module):
    """A network that records the mean of each image, apart for training and for evaluation."""

    seen: ClassVar = {True: [], False: []}

    def __init__(self):
        super().__init__()
        self.network = tiny_network()

    def forward(self, images):
        RecordingNetwork.seen[self.training] += images.detach().mean((1, 2, 3)).tolist()
        return self.network(images)


def recorded_rows(data, *, training):
    """Return which faces of `data`, uint8, a RecordingNetwork saw since the last call."""
    means = ((data.astype(np.float64) - 127.5) / 127.5).mean(axis=(1, 2, 3))
    seen = np.array(RecordingNetwork.seen[training])
    RecordingNetwork.seen[training].clear()
    gaps = np.abs(seen[:, None] - means)
    return set(gaps.argmin(axis=1)[gaps.min(axis=1) < 1e-6].tolist())


class StopAfter:
    """Callback that asks for the end of training."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id + 1 == self.n_epochs
