"""Plain PyTorch parts of skface; nothing here imports scikit-learn or the rest of skface."""
