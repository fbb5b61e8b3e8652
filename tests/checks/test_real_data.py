"""`check data` on the data sets of the paper: what is known to be wrong with them."""

import os
from pathlib import Path

import pytest

from rewardgap.checks.data import check_data
from rewardgap.checks.findings import CheckReport
from rewardgap.configs.checks import CheckDataConfig


@pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs real data")
class TestRealData:
    """What is known to be wrong with the sets of the paper."""

    @staticmethod
    def report(train: list[str], *evaluation: str, quick: bool = False) -> CheckReport:
        folder = Path(os.environ["REWARDGAP_SHARED"]) / "data"
        specs = [str(folder / f"{name}.jsonl") for name in train]
        sets = {name: str(folder / f"{name}.jsonl") for name in evaluation}
        return check_data(CheckDataConfig(train=specs, eval=sets, quick=quick))

    @staticmethod
    def said(report: CheckReport, words: str) -> bool:
        return any(words in finding.what for finding in report.findings)

    def test_mathematics(self):
        report = self.report(["rewardmath_train"], "rewardmath_test", "rewardbench_math_test")
        for words in (
            "198 of 200 records (99 %) of rewardmath_test have their prompt and their chosen",
            "the 2,000 records of train have 466 different prompts",
            "181 of 200 records (90 %) of rewardbench_math_test have their prompt in the training",
            "'the shorter response wins' is right on 94.5% of rewardbench_math_test",
        ):
            assert self.said(report, words), words

    @pytest.mark.parametrize("name", ["uf_train200", "uf_paraphrase_train"])
    def test_one_identical_pair(self, name):
        report = self.report([name], quick=True)
        assert self.said(report, "1 of 200 records (0.5 %) of train have one response")

    def test_ties_of_scores(self):
        report = self.report(["uf_extra_train"], quick=True)
        assert self.said(report, "134 of 1,186 records (11 %)")

    @pytest.mark.parametrize(
        ("language", "chosen", "rejected"), [("french", 2, 4), ("spanish", 5, 4)]
    )
    def test_what_was_not_translated(self, language, chosen, rejected):
        name = f"uf_{language}_test"
        report = self.report(["uf_train200"], name)
        of = f"of {name} have a"
        counts = {"chosen": chosen, "rejected": rejected}
        for column, count in counts.items():
            whole = f"{count} of 200 records"
            assert any(
                f.what.startswith(whole) and f"{of} {column} response that equals" in f.what
                for f in report.findings
            )
        assert self.said(report, f"of {name} are in English, while most responses are in")
