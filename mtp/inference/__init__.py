"""From pictures to predictions with a trained model; nothing of training."""
