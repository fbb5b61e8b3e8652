"""The sentences of all topics together."""

from grids import findings, texts

from rewardgap.reporting.paper.tables import beside_paper, paper_tables


def test_the_sentences(known):
    results = known
    beside = [table for table in paper_tables({"chat": results}) if table.experiment]
    found = [*findings(results), *beside_paper(beside)]
    differences, alike = texts(found, "difference"), texts(found, "alike")
    assert (
        "Explicit models are more accurate than implicit ones on ultrafeedback-french by 0.650"
        in differences
    )
    assert "Generative models are more accurate than implicit ones" in differences
    assert "implicit ones on ultrafeedback by" not in differences
    assert "Explicit, generative and implicit cannot be told apart on ultrafeedback." in alike
    assert "Reworded as ultrafeedback-french, implicit models lose 0.650" in differences
    assert "flip 65% of their verdicts; explicit and generative models show no" in differences
    assert texts(found, "paper").startswith("Of ")
