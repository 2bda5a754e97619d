"""What `python -m mtp.main` does: train, evaluate, predict."""
