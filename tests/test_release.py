"""What `make release` refuses, and what it leaves out of the bill of materials."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_that_of_the_package(release):
    import tryage

    assert release.read_version() == tryage.__version__


def test_a_changelog_whose_newest_section_is_the_version_with_a_date_is_accepted(release):
    release.check_changelog("1.2.0", "# Changelog\n\n## [1.2.0] - 2026-11-29\n\n## [1.1.0]\n")


@pytest.mark.parametrize(
    "changelog",
    [
        "## [Unreleased]\n\n## [1.2.0] - 2026-11-29\n",
        "## [1.2.0]\n",
        "## [1.1.0] - 2026-11-29\n",
        "",
    ],
)
def test_a_changelog_of_another_version_is_refused(release, changelog):
    with pytest.raises(SystemExit, match=r"Name the section `## \[1\.2\.0\] - <date>`"):
        release.check_changelog("1.2.0", changelog)


def test_builds_of_other_bytes_are_refused(release, tmp_path):
    paths = [tmp_path / "a.whl", tmp_path / "b.whl"]
    paths[0].write_bytes(b"one")
    paths[1].write_bytes(b"one")
    release.check_equal(paths[:1], paths[1:])
    paths[1].write_bytes(b"two")
    with pytest.raises(SystemExit, match="differ"):
        release.check_equal(paths[:1], paths[1:])


def test_the_bill_does_not_say_where_the_wheel_was(release):
    wheel = {"url": "file:///home/me/tryage.whl", "type": "distribution"}
    site = {"url": "https://example.com", "type": "website"}
    bill = json.dumps({"components": [{"name": "a", "externalReferences": [wheel, site]}, {}]})
    found = json.loads(release.without_local_addresses(bill))["components"]
    assert found[0] == {"name": "a", "externalReferences": [site]}


def test_the_two_builds_are_made_under_different_conditions(release):
    first, second = release.CONDITIONS
    assert first.keys() == second.keys() >= {"umask", "TZ", "LC_ALL"}
    assert all(first[name] != second[name] for name in first)


def test_a_command_runs_with_the_rights_that_it_is_given(release, tmp_path):
    for umask, rights in ((0o022, 0o644), (0o077, 0o600)):
        release.run("touch", tmp_path / f"{umask:o}", umask=umask)
        assert (tmp_path / f"{umask:o}").stat().st_mode & 0o777 == rights


def test_each_component_of_the_bill_has_the_digest_of_the_file_that_was_installed(release):
    archive = {"archive_info": {"hashes": {"sha256": "ab" * 32}}}
    metadata = {"name": "typing_extensions"}
    report = json.dumps({"install": [{"metadata": metadata, "download_info": archive}]})
    bill = json.dumps({"components": [{"name": "typing-extensions"}, {"name": "tryage"}]})
    digests = {**release.installed_digests(report), "tryage": "cd" * 32}
    found = json.loads(release.with_digests(bill, digests))["components"]
    assert [one["hashes"] for one in found] == [
        [{"alg": "SHA-256", "content": "ab" * 32}],
        [{"alg": "SHA-256", "content": "cd" * 32}],
    ]


def test_a_component_without_licence_or_digest_is_named(release):
    whole = {"name": "a", "licenses": [{"license": {"id": "MIT"}}], "hashes": [{}]}
    bill = {"components": [whole, {**whole, "name": "b", "licenses": []}, {"name": "c"}]}
    assert release.bare_components(bill) == ["b", "c"]


def test_a_command_that_fails_stops_with_what_it_said(release):
    with pytest.raises(SystemExit, match="no-such-branch"):
        release.run("git", "rev-parse", "--verify", "no-such-branch")


def test_published_files_have_their_digests_beside_them(release, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "DIST", tmp_path / "dist")
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"one")
    release.publish([wheel])
    (line,) = (tmp_path / "dist" / "SHA256SUMS").read_text("utf-8").splitlines()
    assert line == f"{release.sha256(wheel)}  a.whl"
    assert (tmp_path / "dist" / "a.whl").read_bytes() == b"one"
