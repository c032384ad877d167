"""How fast something goes at present."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Speed:
    """Frames per second over the last five seconds or more; ``marks`` are times and frames done by then.

    It begins with no frame done now. With ``marks`` empty it begins with the first mark, whose speed is 0.
    """

    window_s: float = 5.0
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque([(time.monotonic(), 0)]))

    def mark(self, frames: int) -> float:
        """Note that so many frames are done by now, since the beginning; the speed. Fewer than before begin anew."""
        now = time.monotonic()
        if self.marks and frames < self.marks[-1][1]:
            self.marks.clear()
        self.marks.append((now, frames))
        while len(self.marks) > 2 and now - self.marks[1][0] > self.window_s:
            self.marks.popleft()
        started, before = self.marks[0]
        return (frames - before) / (now - started) if now > started else 0.0
