"""From pictures to batches: shapes, the plan of which picture goes where, reading ahead."""
