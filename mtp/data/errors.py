"""What is raised where pictures or labels are wrong."""


class DataError(ValueError):
    """The user's data is wrong; the message says what must hold, what came and how to fix it."""
