"""What people look at: result tables."""
