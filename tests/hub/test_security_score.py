"""The security score: scan x format x code, and unknown is not safe."""

from __future__ import annotations

import json

import pytest

from tryage.hub.model import Model
from tryage.hub.security import with_scan

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
        ({"securityRepoStatus": DONE}, 0.5),  # a format nobody knows
        ({"siblings": SAFE}, 0.5),  # nobody has scanned it
        ({"siblings": SAFE, "securityRepoStatus": issues(done=False)}, 0.5),
        ({"siblings": SAFE, "securityRepoStatus": issues("caution")}, 0.7),
        ({"siblings": SAFE, "securityRepoStatus": issues("caution", "suspicious")}, 0.3),
        ({"siblings": SAFE, "securityRepoStatus": issues("queued")}, 0.5),
        ({"siblings": SAFE, "securityRepoStatus": issues("never heard of")}, 0.5),
        ({"siblings": SAFE, "securityRepoStatus": issues("unsafe", done=False)}, 0.0),
        ({"siblings": SAFE, "securityRepoStatus": DONE, "tags": ["custom_code"]}, 0.3),
        ({"siblings": SAFE, "securityRepoStatus": DONE, "config": {"auto_map": {"A": "m.A"}}}, 0.3),
        ({"siblings": PICKLE, "tags": ["custom_code"]}, 0.06),
        ({"siblings": SAFE, "securityRepoStatus": DONE, "disabled": True}, 0.0),
        ({"tags": ["safetensors", "pytorch"]}, 0.45),
        ({"tags": ["pytorch"]}, 0.2),
    ],
)
def test_the_score_is_the_product_of_what_is_known(read, fields, score):
    assert read(**fields).value("security") == pytest.approx(score)


def test_every_factor_is_named(read):
    fact = read(siblings=SAFE + PICKLE, tags=["custom_code"]).facts["security"]
    assert fact.source == "scans unknown 0.5 x format mixed 0.9 x custom code 0.3"
    assert read(disabled=True).facts["security"].source == "disabled by the Hub"


def test_nothing_known_gives_no_score(read):
    assert not {"security", "formats", "custom_code"} & read(tags=["en"]).facts.keys()


def test_a_score_without_a_scan_is_hardly_sure(read):
    assert read(siblings=SAFE).facts["security"].confidence == 0.3
    assert read(siblings=SAFE, securityRepoStatus=DONE).facts["security"].confidence == 0.9


def test_what_training_leaves_behind_is_no_format(read):
    files = [*SAFE, {"rfilename": "training_args.bin"}, {"rfilename": "ckpt/optimizer.pt"}]
    assert read(siblings=files).value("formats") == ("safetensors",)


def scanned(path, status):
    return {"path": path, "securityFileStatus": {"status": status}}


@pytest.mark.parametrize(
    ("statuses", "score"),
    [(["safe", "safe"], 1.0), (["safe", "queued"], 0.5), (["safe", "unsafe"], 0.0)],
)
def test_the_scans_of_the_files_of_a_tree_count_together(read, statuses, score):
    files = [scanned(f"{i}.safetensors", status) for i, status in enumerate(statuses)]
    assert read(siblings=files).value("security") == score


def test_one_file_that_was_not_scanned_leaves_the_model_unknown(read):
    files = [scanned("1.safetensors", "safe"), {"path": "2.safetensors"}]
    assert read(siblings=files).value("security") == 0.5


def test_custom_code_is_a_fact_of_its_own(read):
    assert read(tags=["custom_code"]).value("custom_code") is True
    assert read(config={"auto_map": {"AutoModel": "m.M"}}).value("custom_code") is True
    assert "custom_code" not in read(config={"auto_map": "odd"}).facts


# A listing has no scans; those of a model's page are kept until the next commit.


def test_a_scan_is_kept_while_the_commit_is_the_same(read):
    before = read(siblings=SAFE, securityRepoStatus=issues("caution"), sha="abc")
    fresh = read(tags=["safetensors", "custom_code"], sha="abc", likes=7)
    model = with_scan(fresh, Model.from_dict(json.loads(json.dumps(before.to_dict()))))
    assert model.value("security") == pytest.approx(0.7 * 0.3)
    assert model.facts["scan"] == before.facts["scan"]
    assert model.likes == 7


@pytest.mark.parametrize(("old", "new"), [("abc", "def"), (None, None), ("abc", None)])
def test_a_scan_of_another_commit_says_nothing(read, old, new):
    before = read(siblings=SAFE, securityRepoStatus=DONE, sha=old)
    fresh = read(tags=["safetensors"], sha=new)
    assert with_scan(fresh, before) is fresh


def test_a_fresh_scan_replaces_the_old_one_and_disabled_vetoes_both(read):
    before = read(siblings=SAFE, securityRepoStatus=DONE, sha="abc")
    fresh = read(siblings=SAFE, securityRepoStatus=issues("unsafe"), sha="abc")
    assert with_scan(fresh, before).value("security") == 0
    assert with_scan(read(sha="abc", disabled=True), before).value("security") == 0
