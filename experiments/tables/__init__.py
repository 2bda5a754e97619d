"""The paper's tables: what stands behind their rows."""
