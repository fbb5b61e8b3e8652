"""Which record is explained: of an id, of a row, or ranked most wrongly; and its counterpart."""

import logging
from collections.abc import Sequence

from rewardgap.configs.forecasting import ExplainConfig
from rewardgap.data.dropped import encode_usable, new_list, usable_records
from rewardgap.data.load import load as load_records
from rewardgap.data.records import Record
from rewardgap.errors import UserError
from rewardgap.evaluation.text import counted
from rewardgap.scoring.scorer import Scorer

logger = logging.getLogger(__name__)


def read_records(data: str, config: ExplainConfig) -> list[Record]:
    """Return the records of data as a configuration reads them."""
    return load_records(data, config.identical_pairs, new_list(config.bad_records))


def find_record(records: Sequence[Record], data: str, name: str | None, row: int | None) -> Record:
    """Return the record of an id or, without one, of a row of the data.

    Raises:
        UserError: There is none; the message names the first ids, or the rows.
    """
    for record in records:
        if (record.id == name) if name is not None else (record.row == row):
            return record
    if name is None:
        rows = [record.row for record in records if record.row is not None]
        raise UserError(f"{data} has no row {row} that can be used; rows are 0 to {max(rows)}")
    ids = ", ".join(record.id for record in records[:3])
    more = ", …" if len(records) > 3 else ""
    raise UserError(
        f"{data} has no record {name!r}; it has {len(records)} ids: {ids}{more}; or name a row"
    )


def find_worst(records: Sequence[Record], scorer: Scorer, config: ExplainConfig) -> Record:
    """Return the record at place `worst` in the order of margins, the lowest first.

    The margin of several responses is that of the worst chosen and the best rejected one.

    Raises:
        UserError: There are fewer records.
    """
    trees = encode_usable(
        scorer.model.encode, records, scorer.max_length, new_list(config.bad_records)
    )
    usable = usable_records(records, trees)
    place = config.worst or 1
    if place > len(usable):
        raise UserError(f"worst is {place}, but {config.data} has {counted(len(usable), 'record')}")
    _, rewards = scorer.rewards(usable, trees)
    margins = [
        min(values[: len(record.chosen)]) - max(values[len(record.chosen) :])
        for record, values in zip(usable, rewards, strict=True)
    ]
    index = sorted(range(len(usable)), key=margins.__getitem__)[place - 1]
    logger.info(
        *("number %d of %d by its margin, the lowest first: row %s, record %s, margin %.3g", place),
        *(len(usable), usable[index].row, usable[index].id, margins[index]),
    )
    return usable[index]


def find_counterpart(config: ExplainConfig, record: Record) -> Record | None:
    """Return the counterpart that is named by its id, its row, its data or several of these.

    Raises:
        UserError: There is none, or one side is no pair.
    """
    if (config.counterpart, config.counterpart_row, config.counterpart_data) == (None,) * 3:
        return None
    data, name, row = config.counterpart_data or config.data, config.counterpart, None
    if name is None:
        row = config.counterpart_row
        name = record.id if row is None else None
    counterpart = find_record(read_records(data, config), data, name, row)
    for side in (record, counterpart):
        if not side.is_pair:
            raise UserError(
                f"record {side.id} has {len(side.responses)} responses: a counterpart needs one "
                "chosen and one rejected response on both sides"
            )
    return counterpart
