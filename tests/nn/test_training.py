"""The training loop, on small synthetic data."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from skface.exceptions import TrainingCollapseWarning
from skface.nn.embedding import embed
from skface.nn.losses import MarginSoftmax
from skface.nn.objectives import Contrastive, DifferenceHead, LabelLoss, PairClassifier, Triplet
from skface.nn.optimization import learning_rate_factor
from skface.nn.options import Options
from skface.nn.sampling import IdentitySampler, PairSampler
from skface.nn.training import Trainer


def make_rows(n_identities=6, n_images=8, n_features=10, noise=3.0, seed=0):
    """Identities differ in the first three features; the others are noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_identities).repeat_interleave(n_images)
    rows = noise * torch.randn(len(labels), n_features, generator=generator)
    centers = torch.randn(n_identities, 3, generator=generator)
    rows[:, :3] = centers[labels] + 0.1 * torch.randn(len(labels), 3, generator=generator)
    return rows, labels.numpy()


def make_module(*layers, seed=0):
    module = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim > 1:
                parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
    return module


def mlp(n_features=10, n_hidden=32, n_outputs=8, dropout=0.0):
    return make_module(
        nn.Linear(n_features, n_hidden),
        nn.BatchNorm1d(n_hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(n_hidden, n_outputs),
    )


def make_trainer(
    module,
    rows,
    labels,
    *,
    objective=None,
    fetch=None,
    validate=None,
    n_identities_per_batch=16,
    n_images_per_identity=4,
    **options,
):
    options = Options(**{"max_epochs": 5, "learning_rate": 1e-2, **options})
    sampler = IdentitySampler(
        labels, n_identities_per_batch, n_images_per_identity, seed=options.seed
    )
    objective = Triplet() if objective is None else objective
    fetch = rows.__getitem__ if fetch is None else fetch
    return Trainer(module, objective, sampler, fetch, options, validate)


def train(module, rows, labels, *, on_epoch_end=None, **options):
    return make_trainer(module, rows, labels, **options).run(on_epoch_end=on_epoch_end)


def states_equal(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("mining", ["semi_hard", "hard", "all"])
def test_training_separates_identities(mining):
    rows, labels = make_rows(noise=0.5)
    history = train(mlp(), rows, labels, objective=Triplet(mining=mining), max_epochs=40)
    gap = [r["mean_impostor_distance"] - r["mean_genuine_distance"] for r in history]
    assert gap[-1] > gap[0] + 0.2
    assert history[-1]["active_fraction"] < history[0]["active_fraction"]


def test_one_step_equals_a_plain_loop_over_triplets():
    rows, labels = make_rows(n_identities=3, n_images=3, n_features=4)
    module = make_module(nn.Linear(4, 2, bias=False))
    twin = copy.deepcopy(module)
    history = train(module, rows, labels, objective=Triplet(0.5, "all"), max_epochs=1)

    embeddings = embed(twin, rows)
    terms, anchors = [], set()
    for a in range(9):
        for p in range(9):
            for n in range(9):
                if a != p and labels[a] == labels[p] and labels[a] != labels[n]:
                    d_ap = (embeddings[a] - embeddings[p]).square().sum()
                    d_an = (embeddings[a] - embeddings[n]).square().sum()
                    if d_ap - d_an + 0.5 > 0:
                        terms.append(d_ap - d_an + 0.5)
                        anchors.add(a)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-2, weight_decay=1e-4)
    loss = torch.stack(terms).mean()
    loss.backward()
    optimizer.step()

    assert history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert history[0]["active_fraction"] == pytest.approx(len(anchors) / 9)
    assert history[0]["active_triplets"] == len(terms)
    distances = torch.cdist(embeddings, embeddings).square()
    same = torch.from_numpy(labels[:, None] == labels)
    genuine = distances[same & ~torch.eye(9, dtype=torch.bool)].mean().item()
    assert history[0]["mean_genuine_distance"] == pytest.approx(genuine, rel=1e-4)
    impostor = distances[~same].mean().item()
    assert history[0]["mean_impostor_distance"] == pytest.approx(impostor, rel=1e-4)
    torch.testing.assert_close(module[0].weight, twin[0].weight)


class Shake:
    """Noise whose draws are one number per row."""

    def draw(self, n_images, generator):
        return torch.rand(n_images, 1, generator=generator)

    def __call__(self, images, draws):
        return images + 0.1 * torch.sin(100 * draws + torch.arange(images.shape[1]))


def test_a_seed_fixes_the_network_and_the_global_generator_is_left_alone():
    rows, labels = make_rows()

    first, again, other = (mlp(dropout=0.5) for _ in range(3))
    before = torch.random.get_rng_state()
    history = train(first, rows, labels, augmentation=Shake(), seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(7)
    assert train(again, rows, labels, augmentation=Shake(), seed=3) == history
    assert states_equal(first, again)
    train(other, rows, labels, augmentation=Shake(), seed=4)
    assert not states_equal(first, other)


def test_dropout_differs_between_steps():
    masks = []

    class Spy(nn.Module):
        def forward(self, images):
            masks.append(images == 0)
            return images

    module = make_module(nn.Dropout(0.5), Spy(), nn.Linear(10, 4))
    train(module, *make_rows(), n_identities_per_batch=3, max_epochs=2)
    shapes = {mask.shape for mask in masks}
    assert len(masks) == 8
    assert len(shapes) == 1
    assert not any(torch.equal(masks[0], mask) for mask in masks[1:])


def test_frozen_parts_keep_parameters_and_running_statistics():
    module = mlp()
    for part in module[:2]:
        part.requires_grad_(False)
    before = copy.deepcopy(module)
    train(module, *make_rows())
    assert states_equal(module[:2], before[:2])
    assert not states_equal(module[4:], before[4:])


def test_a_wholly_frozen_network_is_refused():
    with pytest.raises(ValueError, match="no trainable parameter"):
        train(mlp().requires_grad_(False), *make_rows())


def test_callback_sees_each_record_and_may_stop():
    seen = []

    def stop_after_two(record):
        seen.append(record)
        return len(seen) == 2

    history = train(mlp(), *make_rows(), max_epochs=9, on_epoch_end=stop_after_two)
    assert history == seen
    assert [record["epoch"] for record in history] == [1, 2]
    assert set(history[0]) == {
        "epoch",
        "loss",
        "active_triplets",
        "active_fraction",
        "mean_genuine_distance",
        "mean_impostor_distance",
        "learning_rate",
    }


def test_callback_randomness_does_not_change_training():
    rows, labels = make_rows()
    quiet, noisy = mlp(dropout=0.3), mlp(dropout=0.3)
    train(quiet, rows, labels)
    train(noisy, rows, labels, on_epoch_end=lambda record: torch.rand(3).sum() < 0)
    assert states_equal(quiet, noisy)


def test_collapse_is_warned_of_with_the_remedy():
    module = make_module(nn.Linear(10, 4))
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.fill_(1.0)
    with pytest.warns(TrainingCollapseWarning, match=r"epoch 2 .* Lower learning_rate=0\.01"):
        train(module, *make_rows(), max_epochs=2)


def test_healthy_training_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(mlp(), *make_rows())


@pytest.mark.parametrize("n_features", [1, 2, 10])
@pytest.mark.parametrize("counts", [[10, 10], [7, 7, 6], [2, 1], [2, 1, 1, 1], [15, 1]])
def test_tiny_data_trains(counts, n_features):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = torch.randn(len(labels), n_features, generator=torch.Generator().manual_seed(0))
    module = mlp(n_features=n_features)
    history = train(module, rows, labels, max_epochs=3)
    assert np.isfinite([list(record.values()) for record in history]).all()
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert not module.training


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.zeros(48), "48 image.* show 1"), (np.arange(48), "48 identities with one image each")],
)
def test_labels_that_give_no_triplet_are_refused(labels, message):
    rows, _ = make_rows()
    with pytest.raises(ValueError, match=message):
        train(mlp(), rows, labels)


def test_max_epochs_below_one_is_refused():
    with pytest.raises(ValueError, match="max_epochs=0"):
        train(mlp(), *make_rows(), max_epochs=0)


def test_images_with_nan_are_named():
    rows, labels = make_rows()
    rows[[5, 9], 2] = torch.nan
    with pytest.raises(ValueError, match=r"2 image\(s\).*first row\(s\) 5, 9"):
        train(mlp(), rows, labels, n_images_per_identity=8)


def test_divergence_is_an_error_that_names_the_learning_rate():
    with pytest.raises(FloatingPointError, match=r"epoch 1.*learning_rate=1e\+30"):
        train(make_module(nn.Linear(10, 4), nn.Linear(4, 4)), *make_rows(), learning_rate=1e30)


def test_fetch_is_asked_for_one_batch_at_a_time():
    rows, labels = make_rows()
    sizes = []

    def fetch(indices):
        sizes.append(len(indices))
        return rows[indices]

    train(mlp(), rows, labels, fetch=fetch, n_identities_per_batch=3, max_epochs=2)
    assert sizes == [12] * 8


@pytest.mark.parametrize("n_steps", [1, 2, 5, 10, 100])
def test_learning_rate_rises_then_falls(n_steps):
    factors = [learning_rate_factor(step, n_steps) for step in range(n_steps)]
    peak = int(np.argmax(factors))
    assert max(factors) == 1
    assert min(factors) > 0
    assert np.all(np.diff(factors[: peak + 1]) > 0)
    assert np.all(np.diff(factors[peak:]) <= 0)


@pytest.mark.parametrize("objective", [Triplet(0.5, "all"), LabelLoss(MarginSoftmax(6, 8))])
def test_chunks_give_the_gradient_of_the_whole_batch(objective):
    rows, labels = make_rows()
    whole, chunked = (make_module(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 8)) for _ in range(2))
    expected = train(whole, rows, labels, objective=copy.deepcopy(objective), max_epochs=3)
    history = train(
        chunked, rows, labels, objective=copy.deepcopy(objective), max_epochs=3, chunk_size=5
    )
    assert [record["loss"] for record in history] == pytest.approx(
        [record["loss"] for record in expected], rel=1e-4
    )
    for one, other in zip(whole.parameters(), chunked.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_chunks_bound_what_is_embedded_at_a_time_and_count_statistics_once():
    rows, labels = make_rows()
    sizes, masks = [], []

    class Spy(nn.Module):
        def forward(self, images):
            sizes.append(len(images))
            masks.append(images == 0)
            return images

    module = make_module(nn.BatchNorm1d(10), nn.Dropout(0.5), Spy(), nn.Linear(10, 4))
    train(module, rows, labels, n_images_per_identity=8, max_epochs=1, chunk_size=20)
    assert sizes == [16, 16, 16] * 2
    # dropout falls alike when a chunk comes by again, and differently between chunks
    for first, again in zip(masks[:3], masks[3:], strict=True):
        assert torch.equal(first, again)
    assert not torch.equal(masks[0], masks[1])
    assert module[0].num_batches_tracked == 3
    assert module[0].momentum == 0.1


@pytest.mark.parametrize("n_before", [1, 3])
def test_training_resumed_after_a_kill_ends_at_the_same_network(n_before, tmp_path):
    rows, labels = make_rows()
    eers = [0.6, 0.3, 0.2, 0.4, 0.1, 0.5]  # of the start and of five epochs

    def build(seed):
        torch.manual_seed(seed)  # class weights are random
        trainer = make_trainer(
            mlp(dropout=0.3),
            rows,
            labels,
            objective=LabelLoss(MarginSoftmax(6, 8)),
            augmentation=Shake(),
        )
        trainer.validate = lambda: {
            "validation_eer": eers[len(trainer.history)],
            "validation_tar": 0.0,
        }
        return trainer

    unbroken = build(seed=0)
    expected = unbroken.run()

    killed = build(seed=0)

    def save_and_die(record):
        if record["epoch"] == n_before:
            torch.save(killed.state(), tmp_path / "state.pt")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.run(on_epoch_end=save_and_die)
    resumed = build(seed=5)
    resumed.resume(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.run() == expected
    assert states_equal(resumed.module, unbroken.module)
    assert states_equal(resumed.objective, unbroken.objective)
    assert resumed.best_epoch == unbroken.best_epoch


def validated(module, eers, **options):
    rows, labels = make_rows()
    trainer = make_trainer(module, rows, labels, max_epochs=len(eers) - 1, **options)
    states = []

    def validate():
        states.append(copy.deepcopy(module.state_dict()))
        return {"validation_eer": eers[len(states) - 1], "validation_tar": 0.5}

    trainer.validate = validate
    return trainer, states


@pytest.mark.parametrize(
    ("eers", "best", "n_epochs"),
    [
        ([0.5, 0.4, 0.2, 0.3, 0.3, 0.1], 2, 4),  # two epochs without a better one
        ([0.5, 0.4, 0.3, 0.2], 3, 3),
        ([0.1, 0.4, 0.3, 0.2], 0, 2),  # worse than the start
        ([0.0, 0.0, 0.0, 0.0], 1, 3),  # an epoch as good as the start is preferred to it
    ],
)
def test_training_stops_and_returns_to_its_best_epoch(eers, best, n_epochs):
    module = mlp()
    trainer, states = validated(module, eers, patience=2)
    history = trainer.run()
    assert len(history) == n_epochs
    assert [record["validation_eer"] for record in history] == eers[1 : n_epochs + 1]
    assert trainer.best_epoch == best
    for name, values in module.state_dict().items():
        assert torch.equal(values, states[best][name]), name


def test_of_epochs_with_one_eer_the_larger_tar_is_best():
    rows, labels = make_rows()
    trainer = make_trainer(mlp(), rows, labels, max_epochs=3)
    tars = iter([0.1, 0.2, 0.4, 0.3])
    trainer.validate = lambda: {"validation_eer": 0.1, "validation_tar": next(tars)}
    trainer.run()
    assert trainer.best_epoch == 2


def test_training_goes_on_with_the_moments_of_the_optimizer():
    rows, labels = make_rows()
    module = mlp()
    first = make_trainer(module, rows, labels, max_epochs=2)
    first.run()
    steps_before = next(iter(first.optimizer.state.values()))["step"].item()
    second = make_trainer(module, rows, labels, max_epochs=3)
    second.continue_after(first.state())
    history = second.run()
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5]
    assert history[:2] == first.history
    assert next(iter(second.optimizer.state.values()))["step"] == steps_before * 5 / 2


def test_labeled_pairs_train_both_pair_objectives():
    rows, labels = make_rows(noise=0.5)
    left, right = np.triu_indices(len(labels), 1)
    same = labels[left] == labels[right]
    for objective in (Contrastive(), PairClassifier(DifferenceHead(8))):
        trainer = Trainer(
            mlp(),
            objective,
            PairSampler(left, right, same, n_pairs=64, seed=0),
            rows.__getitem__,
            Options(max_epochs=8, learning_rate=1e-2),
        )
        history = trainer.run()
        assert history[-1]["loss"] < 0.7 * history[0]["loss"]
        assert history[-1]["mean_genuine_distance"] < history[-1]["mean_impostor_distance"]


@pytest.mark.parametrize("dim", [64, 128, 512])
def test_the_head_starts_with_odds_that_fit_face_networks(dim):
    rng = np.random.default_rng(0)
    left, other = np.linalg.qr(rng.normal(size=(500, dim, 2)))[0].transpose(2, 0, 1)
    for cosine, low, high in ((0.6, 0.9, 1), (0.1, 0, 0.1)):  # of one person, of two people
        right = cosine * left + (1 - cosine**2) ** 0.5 * other
        odds = DifferenceHead(dim)(*(torch.from_numpy(v).float() for v in (left, right)))
        assert low < torch.sigmoid(odds).median() < high
    assert DifferenceHead(dim)(torch.ones(1, dim), torch.ones(1, dim)) > 5


def test_a_frozen_network_may_carry_an_objective_that_learns():
    rows, labels = make_rows(noise=0.3)
    vectors = nn.functional.normalize(rows, dim=1)
    objective = PairClassifier(DifferenceHead(10))
    history = train(nn.Identity(), vectors, labels, objective=objective, max_epochs=20)
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda embeddings, labels: 3.0, "returned 3.0"),
        (lambda embeddings, labels: embeddings.sum(dim=1), r"returned shape \(24,\)"),
        (lambda embeddings, labels: embeddings.detach().sum(), "without a gradient"),
    ],
)
def test_a_loss_that_is_none_is_refused(loss, message):
    with pytest.raises(TypeError, match=message):
        train(mlp(), *make_rows(), objective=LabelLoss(loss))


def test_a_loss_of_pytorch_metric_learning_plugs_in_and_its_parameters_learn():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    rows, labels = make_rows(noise=0.5)
    for loss in (losses.ProxyAnchorLoss(6, 8), losses.MultiSimilarityLoss()):
        objective = LabelLoss(loss)
        before = [parameter.detach().clone() for parameter in objective.parameters()]
        history = train(mlp(), rows, labels, objective=objective, max_epochs=10)
        assert history[-1]["loss"] < history[0]["loss"]
        for parameter, old in zip(objective.parameters(), before, strict=True):
            assert not torch.equal(parameter, old)
