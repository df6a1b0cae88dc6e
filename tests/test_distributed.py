"""Data-parallel training: two processes are one process on the whole batch."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from skface.nn.distributed import Team, frozen_statistics, join_team

TRAIN = """
import sys
import warnings
import numpy as np
import torch
from torch import nn
from skface import FaceNetEmbedder, SiameseVerifier, make_faces, make_pairs
from skface.nn import training


def smooth():
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(108, 32), nn.Tanh(), nn.Linear(32, 16)
    )


# no biases before normalisation: their gradients are rounding errors, which Adam enlarges
def normed():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.Tanh(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 16, bias=False), nn.BatchNorm1d(16),
    )


warnings.simplefilter("error")
faces = make_faces(7, 5, image_size=32, random_state=0)
pairs = make_pairs(faces.target, random_state=0)
common = {"weights": None, "n_identities_per_batch": 5, "n_images_per_identity": 3}
common |= {"max_epochs": 3, "random_state": 0}
estimators = {
    "smooth": FaceNetEmbedder(smooth, **common),
    "normed": FaceNetEmbedder(normed, **common),
    "chunks": FaceNetEmbedder(smooth, chunk_size=4, **common),
    "softmax": FaceNetEmbedder(smooth, loss="arcface", **common),
    "stopped": FaceNetEmbedder(
        smooth, early_stopping=True, validation_fraction=0.3, **common
    ),
    "siamese": SiameseVerifier(smooth, **common),
}
seen = []
embed = training.Trainer._embed
training.Trainer._embed = lambda self, network, rows, draws: (
    seen.append(len(rows)) or embed(self, network, rows, draws)
)
out = {}
for name, estimator in estimators.items():
    X, y = faces.data, faces.target
    if name == "siamese":
        X, y = faces.data[pairs.indices], pairs.target
    estimator.fit(X, y)
    for key, values in estimator.weights_.items():
        out[f"{name} {key}"] = values
    for key, values in estimator.history_.items():
        out[f"{name} history {key}"] = values
out["n_seen"] = np.array(seen[:6])
rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else "alone"
np.savez(f"{sys.argv[1]}-{rank}.npz", **out)
"""

torch_runs_processes = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32",
    reason="this build of torch has no Gloo",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    script = folder / "train.py"
    script.write_text(TRAIN)
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for command in (together, [sys.executable]):
        subprocess.run([*command, script, folder / "out"], check=True, timeout=240)
    return {name: dict(np.load(folder / f"out-{name}.npz").items()) for name in ("0", "1", "alone")}


@torch_runs_processes
@pytest.mark.parametrize("name", ["smooth", "normed", "chunks", "softmax", "stopped", "siamese"])
def test_two_processes_train_the_network_of_one(results, name):
    keys = [key for key in results["alone"] if key.startswith(f"{name} ")]
    assert len(keys) > 6
    for key in keys:
        np.testing.assert_array_equal(results["0"][key], results["1"][key], err_msg=key)
        np.testing.assert_allclose(
            results["0"][key], results["alone"][key], rtol=2e-3, atol=2e-4, err_msg=key
        )


@torch_runs_processes
def test_each_process_embeds_its_share(results):
    # batches of 15 faces: 8 for the first process and 7 for the second
    assert results["alone"]["n_seen"].tolist() == [15] * 6
    assert results["0"]["n_seen"].tolist() == [8] * 6
    assert results["1"]["n_seen"].tolist() == [7] * 6


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 5, 12])
def test_shares_cover_all_rows_once_and_evenly(size, n):
    shares = [Team(rank, size).share(n) for rank in range(size)]
    assert [i for share in shares for i in range(n)[share]] == list(range(n))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_a_process_of_its_own_is_a_team_of_one():
    team = join_team()
    assert team == Team()
    rows = torch.rand(3, 2)
    assert team.gather(rows, 3) is rows
    assert team.agree("value") == "value"


def test_frozen_statistics_come_back_to_life():
    layer = nn.BatchNorm1d(2)
    with frozen_statistics(layer):
        layer(torch.randn(8, 2))
    assert torch.equal(layer.running_mean, torch.zeros(2))
    assert layer.num_batches_tracked == 0
    layer(torch.randn(8, 2))
    assert not torch.equal(layer.running_mean, torch.zeros(2))
    assert layer.num_batches_tracked == 1
