"""The registry of layouts: rows as public data sets and other tools write them.

A new layout is a `RowLayout` in a module of this package, in that module's table.
"""

from collections.abc import Mapping

from rewardgap.data.layouts.judged import JUDGED
from rewardgap.data.layouts.layout import RowLayout
from rewardgap.data.layouts.named import NAMED, TYPED
from rewardgap.data.layouts.ranked import RANKED
from rewardgap.data.layouts.transcripts import TRANSCRIPTS

RECOGNISED: Mapping[str, RowLayout] = {**NAMED, **JUDGED, **RANKED, **TRANSCRIPTS}
LAYOUTS: Mapping[str, RowLayout] = {**RECOGNISED, **TYPED}
