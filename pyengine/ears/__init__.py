"""What a sound is like, in figures and in words, for a reader who can neither hear nor see it.

Everything here is a function of the samples alone: the same samples give the same description. numpy does all of
it; only the picture needs matplotlib.
"""

from __future__ import annotations

from pyengine.ears.description import Description as Description
from pyengine.ears.description import describe as describe
