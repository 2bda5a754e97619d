"""NASNet-A on canvases, the columns and heads of MTP-NasNet, and the published ImageNet weights."""
