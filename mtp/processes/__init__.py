"""What a process owes to others and to whoever ends it: locks, signals, workers, a status."""
