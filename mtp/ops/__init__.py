"""Numerics on canvases: pictures of mixed sizes in one array, each computed as if it were alone."""
