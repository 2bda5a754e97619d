"""Scripts that measure; each prints what it found, results/ keeps their output."""
