"""Where a program runs: devices, compiled programs, checkpoints, what a run logs."""
