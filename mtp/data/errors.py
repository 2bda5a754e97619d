"""What is raised where pictures or labels are wrong."""


class DataError(ValueError):
    """The user's data is wrong; the message says what must hold, what came and how to fix it."""


class ImageError(DataError):
    """A picture cannot be used; the message is "name: what is wrong; fix"."""


class EmptyFile(ImageError):
    """The file has no bytes."""


class WebPage(ImageError):
    """HTML or XML where a picture should be."""


class UnknownFormat(ImageError):
    """No picture that can be read."""


class CameraRaw(ImageError):
    """A camera's RAW file, whose pixels nobody has developed yet."""


class Damaged(ImageError):
    """A picture that cannot be decoded to its end."""


class TooLarge(ImageError):
    """More pixels than data.max_decode_pixels."""
