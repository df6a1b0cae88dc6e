"""Plain PyTorch parts of skface; nothing here imports scikit-learn or the rest of skface."""

__all__ = [
    "augment",
    "backbones",
    "checkpoint",
    "distillation",
    "distributed",
    "embedding",
    "exceptions",
    "freezing",
    "gradients",
    "losses",
    "mining",
    "objectives",
    "openvino_ir",
    "optimization",
    "options",
    "rng",
    "sampling",
    "training",
]
