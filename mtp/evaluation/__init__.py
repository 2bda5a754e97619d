"""What predictions are worth: metrics, intervals, reference rows, and the files that hold them."""
