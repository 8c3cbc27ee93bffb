"""The page: the best model first, what is unknown as a dash, and no markup from names."""

from tryage.onboarding.report import ModelReport, OnboardingReport


def make_model(name, score, **changes):
    values = {
        "low": score - 0.1,
        "high": score + 0.1,
        "share": 0.5,
        "n_answers": 12,
        "n_failed": 0,
        "measured": score,
        "by_kind": {"law": (0.5, 4)},
        "cost": 0.002,
        "latency": 1.25,
        "output_tokens": None,
        "spent": 0.024,
    }
    return ModelReport(name=name, score=score, **values | changes)


def make_report(*models, **changes):
    values = {
        "is_settled": True,
        "out_of_budget": False,
        "regret": 0.004,
        "spent": 0.03,
        "failed": {},
    }
    return OnboardingReport(models=models, **values | changes)


def test_the_page_tells_who_is_best_how_sure_at_what_price_and_speed():
    models = make_model("b", 0.8, measured=0.75), make_model("a", 0.6, by_kind={})
    page = make_report(*models).to_markdown()
    assert "b is expected to be the best on typical prompts, with a score of 0.80" in page
    assert "| b | 0.80 | 0.70 to 0.90 | 50% | 12 | 0.75 | 2.00 | 1.2 | - |" in page
    assert "| law | 0.50 (4) | - |" in page
    assert "The ranking is settled" in page


def test_the_page_says_why_a_ranking_is_not_settled():
    page = make_report(make_model("b", 0.8), is_settled=False, out_of_budget=True, regret=0.1)
    assert "The budget is used up, and the ranking is not settled" in page.summary()
    assert "up to 0.100" in page.summary()


def test_a_ranking_without_a_model_that_failed_is_settled_for_the_others_alone():
    models = make_model("b", 0.8), make_model("a", 0.6)
    summary = make_report(*models, failed={"b": "The cost of b is unknown."}).summary()
    assert "(0.70 to 0.90). It was not tested to the end." in summary
    assert "The ranking of the other models is settled" in summary


def test_a_model_that_failed_is_on_the_page_with_what_to_do():
    page = make_report(make_model("b", 0.8), failed={"x": "x cannot be measured: 404"})
    assert "x cannot be measured: 404 Check its name" in page.to_markdown()
    assert "x cannot be measured: 404 Check its name" in page.to_html()


def test_names_are_no_markup():
    report = make_report(make_model("<script>alert(1)</script>|", 0.8))
    assert "<script" not in report.to_html()
    assert "\\|" in report.to_markdown()


def test_a_name_or_a_reason_writes_no_markdown_and_no_html():
    name = "a<script>|\n[x](javascript:1)"
    report = make_report(make_model(name, 0.8), failed={name: f"{name} cannot be asked."})
    page = report.to_markdown()
    assert r"a\<script>\|\\n[x\](javascript:1)" in page
    assert "<script>" not in page.replace(r"\<script>", "")
    assert "<script>" not in report.to_html()
