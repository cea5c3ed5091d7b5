"""The course's grader: what is wrong with a student's function, in one sentence.

>>> from xpnet.grading import LESSONS, judge
>>> relu = LESSONS["lesson1"].exercises[1]
>>> print(*judge(relu, {"relu_forward": abs}))
relu_forward: y is |x|: negative values become 0.
"""

from __future__ import annotations

from xpnet.grading.catalogue import LESSONS
from xpnet.grading.exercises import Exercise, Lesson, Verdict
from xpnet.grading.judging import judge
from xpnet.grading.process import check, grade

__all__ = ["LESSONS", "Exercise", "Lesson", "Verdict", "check", "grade", "judge"]
