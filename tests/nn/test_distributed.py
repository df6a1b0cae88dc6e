"""Data-parallel training: two processes train one network."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from skface.nn.distributed import (
    ProcessGroup,
    frozen_statistics,
    join_process_group,
    synchronized_batch_norm,
)

# Trains networks in every process, and saves what each process ends with.
TRAIN = """
import sys
import warnings

import numpy as np
import torch
from torch import nn

from skface.nn.distillation import DistillationTargets
from skface.nn.distributed import join_process_group
from skface.nn.losses import MarginSoftmax
from skface.nn.objectives import DistillationLoss, LabelLoss, Triplet
from skface.nn.options import Options
from skface.nn.sampling import FaceSampler, IdentitySampler
from skface.nn.training import Trainer

warnings.simplefilter("error")
out, device = sys.argv[1:]
if device == "cuda":  # NCCL refuses two processes on one GPU
    if torch.distributed.is_torchelastic_launched():
        torch.distributed.init_process_group("gloo")
group = join_process_group(device)
torch.manual_seed(0)
labels = np.repeat(np.arange(7), 5)
images = torch.rand(7, 3, 12, 12)[labels] + torch.randn(35, 3, 12, 12)


class CountRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.n_rows = []

    def forward(self, images):
        self.n_rows.append(len(images))
        return images


def plain():
    return nn.Sequential(
        CountRows(), nn.Flatten(), nn.Linear(432, 32), nn.Tanh(), nn.Linear(32, 16)
    )


# No biases before normalization: their gradients are rounding errors, which Adam enlarges.
def normalized():
    return nn.Sequential(
        CountRows(), nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.Tanh(),
        nn.Flatten(), nn.Linear(200, 16, bias=False), nn.BatchNorm1d(16),
    )


class Noise:
    def draw(self, n_images, generator):
        return torch.rand(n_images, 1, generator=generator)

    def __call__(self, images, draws):
        return images + 0.1 * torch.sin(100 * draws[:, :, None, None])


runs = {
    "triplet": (plain, Triplet, {}),
    "noise": (plain, Triplet, {"augmentation": Noise()}),
    "chunks": (plain, Triplet, {"chunk_size": 4}),
    "softmax": (plain, lambda: LabelLoss(MarginSoftmax(7, 16)), {}),
    "stopped": (plain, Triplet, {"patience": 1}),
    "taught": (plain, DistillationLoss, {"chunk_size": 4}),
    "batch_norm": (normalized, Triplet, {}),
    "batch_norm_chunks": (normalized, Triplet, {"chunk_size": 4}),
}
saved = {}
for name, (build, make_objective, options) in runs.items():
    torch.manual_seed(1)
    module, objective = build(), make_objective()
    before = [type(part) for part in module], list(module.state_dict())
    sampler, distillation, validate = IdentitySampler(labels, 5, 3, seed=0), None, None
    if name == "taught":
        sampler = FaceSampler(35, 15, seed=0)
        distillation = DistillationTargets(
            lambda images: nn.functional.normalize(images.flatten(1)[:, :16], dim=1),
            lambda images: images,
        )
    options = Options(
        max_epochs=3, learning_rate=1e-2, device=device, process_group=group, **options
    )
    if name == "stopped":  # the first process decides
        eers = iter([0.5, 0.1, 0.2, 0.3] if group.rank == 0 else [0.5, 0.4, 0.3, 0.2])
        validate = lambda: {"validation_eer": next(eers), "validation_tar": 0.5}
    fetch = images.__getitem__
    trainer = Trainer(module, objective, sampler, fetch, options, validate, distillation)
    history = trainer.run()
    assert before == ([type(part) for part in module], list(module.state_dict())), name
    assert not any(part.training for part in module.modules()), name
    for key in history[0]:
        saved[f"{name} history {key}"] = np.array([record[key] for record in history])
    for part in (module, objective):
        for key, values in part.state_dict().items():
            saved[f"{name} {type(part).__name__} {key}"] = values.cpu().numpy()
    saved[f"rows of {name}"] = np.array(module[0].n_rows)
np.savez(f"{out}-{group.rank if group.size > 1 else 'alone'}.npz", **saved)
"""

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32",
    reason="this build of torch has no Gloo",
)


def train(folder, device):
    """Train in two processes and in one; return what each ends with."""
    script = folder / "train.py"
    script.write_text(TRAIN)
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for command in (together, [sys.executable]):
        subprocess.run([*command, script, folder / "out", device], check=True, timeout=240)
    return {name: dict(np.load(folder / f"out-{name}.npz").items()) for name in ("0", "1", "alone")}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return train(tmp_path_factory.mktemp("distributed"), "cpu")


def keys_of(results, name):
    keys = [key for key in results["alone"] if key.startswith(f"{name} ")]
    assert len(keys) > 6
    return keys


RUNS = ["triplet", "noise", "chunks", "softmax", "stopped", "taught"]
WITH_BATCH_NORM = ["batch_norm", "batch_norm_chunks"]


@pytest.mark.parametrize("name", RUNS + WITH_BATCH_NORM)
def test_all_processes_end_with_the_same_network_and_history(results, name):
    for key in keys_of(results, name):
        np.testing.assert_array_equal(results["0"][key], results["1"][key], err_msg=key)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_the_network_of_one(results, name):
    # Mining, losses and measures of the history are those of the whole batch.
    for key in keys_of(results, name):
        np.testing.assert_allclose(
            results["0"][key], results["alone"][key], rtol=2e-3, atol=2e-4, err_msg=key
        )


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_on_a_cpu_each_process_normalizes_its_shard(results, name):
    for result in results.values():
        active = result[f"{name} history active_triplets"]
        assert active[-1] < active[0]
        n_shards = 2 if name.endswith("chunks") else 1  # 8 and 7 faces, at most 4 at a time
        if result is results["alone"]:
            n_shards = 4 if name.endswith("chunks") else 1  # 15 faces
        assert result[f"{name} Sequential 2.num_batches_tracked"] == 12 * n_shards
    together, alone = (results[key][f"{name} Sequential 2.running_var"] for key in ("0", "alone"))
    assert not np.array_equal(together, alone)
    np.testing.assert_allclose(together, alone, rtol=0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_batch_norm_is_that_of_the_whole_batch(tmp_path):
    results = train(tmp_path, "cuda")
    for key in keys_of(results, "batch_norm"):
        np.testing.assert_array_equal(results["0"][key], results["1"][key], err_msg=key)
        np.testing.assert_allclose(
            results["0"][key], results["alone"][key], rtol=5e-3, atol=5e-4, err_msg=key
        )


def test_each_process_embeds_its_shard(results):
    # Batches of 15 faces: 8 for the first process and 7 for the second.
    assert results["alone"]["rows of triplet"].tolist() == [15] * 12
    assert results["0"]["rows of triplet"].tolist() == [8] * 12
    assert results["1"]["rows of triplet"].tolist() == [7] * 12
    assert results["0"]["rows of chunks"].tolist() == [4] * 48
    assert results["1"]["rows of chunks"].tolist() == [4, 3] * 24


def test_synchronized_batch_norm_is_there_while_training_on_cuda_only():
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)), nn.BatchNorm1d(2))
    layers, names = list(module.modules()), list(module.state_dict())
    with synchronized_batch_norm(module, ProcessGroup(0, 2), "cuda"):
        inside = list(module.modules())
        assert [type(part) for part in inside[3:]] == [nn.SyncBatchNorm] * 2
        assert list(module.state_dict()) == names
        with torch.no_grad():
            inside[3].weight.fill_(3.0)
            inside[3].running_mean.fill_(5.0)
        module.eval()
    assert all(one is other for one, other in zip(module.modules(), layers, strict=True))
    assert torch.equal(layers[3].weight, torch.full((2,), 3.0))
    assert torch.equal(layers[3].running_mean, torch.full((2,), 5.0))
    assert not layers[3].training
    for group, device in ((ProcessGroup(0, 2), "cpu"), (ProcessGroup(), "cuda")):
        with synchronized_batch_norm(module, group, device):
            assert not any(isinstance(part, nn.SyncBatchNorm) for part in module.modules())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 5, 12])
def test_shards_cover_all_rows_once_and_evenly(size, n):
    shards = [ProcessGroup(rank, size).shard(n) for rank in range(size)]
    assert [i for shard in shards for i in range(n)[shard]] == list(range(n))
    lengths = [shard.stop - shard.start for shard in shards]
    assert max(lengths) - min(lengths) <= 1


def test_a_process_of_its_own_is_a_group_of_one():
    group = join_process_group()
    assert group == ProcessGroup()
    rows = torch.rand(3, 2)
    assert group.all_gather(rows, 3) is rows
    assert group.broadcast("value") == "value"


def test_frozen_statistics_are_updated_again_afterwards():
    layer = nn.BatchNorm1d(2)
    with frozen_statistics(layer):
        layer(torch.randn(8, 2))
    assert torch.equal(layer.running_mean, torch.zeros(2))
    assert layer.num_batches_tracked == 0
    layer(torch.randn(8, 2))
    assert not torch.equal(layer.running_mean, torch.zeros(2))
    assert layer.num_batches_tracked == 1
