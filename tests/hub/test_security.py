"""The security score: scan x format x code, and unknown is not safe."""

from __future__ import annotations

import pytest

SAFE = [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]
PICKLE = [{"rfilename": "pytorch_model.bin"}]
DONE = {"scansDone": True, "filesWithIssues": []}


def issues(*levels, done=True):
    rows = [{"path": f"{i}.bin", "level": level} for i, level in enumerate(levels)]
    return {"scansDone": done, "filesWithIssues": rows}


@pytest.mark.parametrize(
    ("fields", "score"),
    [
        ({"siblings": SAFE, "securityRepoStatus": DONE}, 1.0),
        ({"siblings": [{"rfilename": "m-Q4.gguf"}], "securityRepoStatus": DONE}, 1.0),
        ({"siblings": SAFE + PICKLE, "securityRepoStatus": DONE}, 0.9),
        ({"siblings": PICKLE, "securityRepoStatus": DONE}, 0.4),
        ({"securityRepoStatus": DONE}, 0.5),  # an unknown format
        ({"siblings": SAFE}, 0.5),  # not scanned
        ({"siblings": SAFE, "securityRepoStatus": issues(done=False)}, 0.5),
        ({"siblings": SAFE, "securityRepoStatus": issues("caution")}, 0.7),
        ({"siblings": SAFE, "securityRepoStatus": issues("caution", "suspicious")}, 0.3),
        ({"siblings": SAFE, "securityRepoStatus": issues("queued")}, 0.5),
        ({"siblings": SAFE, "securityRepoStatus": issues("unfamiliar")}, 0.5),
        ({"siblings": SAFE, "securityRepoStatus": issues("unsafe", done=False)}, 0.0),
        ({"siblings": SAFE, "securityRepoStatus": DONE, "tags": ["custom_code"]}, 0.3),
        ({"siblings": SAFE, "securityRepoStatus": DONE, "config": {"auto_map": {"A": "m.A"}}}, 0.3),
        ({"siblings": PICKLE, "tags": ["custom_code"]}, 0.06),
        ({"siblings": SAFE, "securityRepoStatus": DONE, "disabled": True}, 0.0),
        ({"tags": ["safetensors", "pytorch"]}, 0.45),
        ({"tags": ["pytorch"]}, 0.2),
    ],
)
def test_the_score_is_the_product_of_scan_format_and_code(parse, fields, score):
    assert parse(**fields).value("security") == pytest.approx(score)


def test_the_source_names_every_factor(parse):
    fact = parse(siblings=SAFE + PICKLE, tags=["custom_code"]).facts["security"]
    assert fact.source == "scans unknown 0.5 x format mixed 0.9 x custom code 0.3"
    assert parse(disabled=True).facts["security"].source == "disabled by the Hub"


def test_without_any_known_factor_there_is_no_score(parse):
    assert not {"security", "formats", "custom_code"} & parse(tags=["en"]).facts.keys()


def test_a_score_without_a_scan_has_a_low_confidence(parse):
    assert parse(siblings=SAFE).facts["security"].confidence == 0.3
    assert parse(siblings=SAFE, securityRepoStatus=DONE).facts["security"].confidence == 0.9


def test_files_left_over_from_training_are_no_format(parse):
    files = [*SAFE, {"rfilename": "training_args.bin"}, {"rfilename": "ckpt/optimizer.pt"}]
    assert parse(siblings=files).value("formats") == ("safetensors",)


def scanned(path, status):
    return {"path": path, "securityFileStatus": {"status": status}}


@pytest.mark.parametrize(
    ("statuses", "score"),
    [(["safe", "safe"], 1.0), (["safe", "queued"], 0.5), (["safe", "unsafe"], 0.0)],
)
def test_the_scans_of_the_files_of_a_tree_count_together(parse, statuses, score):
    files = [scanned(f"{i}.safetensors", status) for i, status in enumerate(statuses)]
    assert parse(siblings=files).value("security") == score


def test_one_file_that_was_not_scanned_leaves_the_model_unknown(parse):
    files = [scanned("1.safetensors", "safe"), {"path": "2.safetensors"}]
    assert parse(siblings=files).value("security") == 0.5


def test_custom_code_is_a_fact_of_its_own(parse):
    assert parse(tags=["custom_code"]).value("custom_code") is True
    assert parse(config={"auto_map": {"AutoModel": "m.M"}}).value("custom_code") is True
    assert "custom_code" not in parse(config={"auto_map": "odd"}).facts


def test_the_result_of_the_scanners_is_a_fact_of_its_own(parse):
    assert parse(securityRepoStatus=issues("caution", "suspicious")).value("scan") == "suspicious"
    assert parse(securityRepoStatus=DONE).value("scan") == "safe"
    assert "scan" not in parse(securityRepoStatus=issues(done=False)).facts
