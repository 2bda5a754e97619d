"""The demo set: generated pictures with generated votes."""
