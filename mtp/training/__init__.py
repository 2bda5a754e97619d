"""From a configuration to trained parameters: losses, weights, optimiser, step, programs, loop."""
