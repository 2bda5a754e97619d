"""Integrity-preserving image aesthetic assessment: photographs at their own size and aspect ratio."""
