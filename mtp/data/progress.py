"""Long work over many pictures shows how far it is."""

import sys
import time

from tqdm import tqdm

EVERY = 30.0  # seconds between lines where the output is no terminal


class Progress:
    """A bar with rate and time left; where the output is no terminal, a line every half minute.

    what: the work, for instance "building". total, done: pictures in all, and those done before.
    """

    def __init__(self, what: str, total: int, done: int = 0):
        self._bar = tqdm(total=total, initial=done, desc=what, unit="picture", disable=None)
        self._what, self._total, self._first, self._done = what, total, done, done
        self._start = self._said = time.monotonic()

    def update(self, pictures: int) -> None:
        """So many more are done."""
        self._bar.update(pictures)
        self._done += pictures
        now = time.monotonic()
        if self._bar.disable and now - self._said > EVERY:
            rate = (self._done - self._first) / (now - self._start)
            left = (self._total - self._done) / rate / 60
            print(
                f"{self._what}: {self._done} of {self._total} pictures, {rate:.0f} a second, {left:.0f} min left",
                file=sys.stderr,
            )
            self._said = now

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
