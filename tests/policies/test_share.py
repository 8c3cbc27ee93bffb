"""The share of a stream that a moving threshold keeps."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.policies.share import ShareTracker

N = 4000
RANDOM = np.random.default_rng(0).normal(size=N)
STREAMS = {
    "like before": RANDOM,
    "hard first": np.sort(RANDOM)[::-1],
    "easy first": np.sort(RANDOM),
    "all higher": RANDOM + 100,
    "all lower": RANDOM - 100,
    "all equal": np.zeros(N),
    "two values": np.round(np.clip(RANDOM, 0, 1)),
    "bursts": np.where(np.arange(N) // 250 % 2, 5.0, -5.0) + RANDOM,
}


def follow(tracker: ShareTracker, scores) -> np.ndarray:
    above = []
    for score in scores:
        above.append(tracker.is_above(score))
        tracker.update(score, above[-1])
    return np.array(above)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_any_window_keeps_the_share_within_two_points(stream: str, share: float) -> None:
    tracker = ShareTracker(share, np.random.default_rng(1).normal(size=500), window=1000)
    above = follow(tracker, STREAMS[stream].tolist())
    windows = np.convolve(above, np.ones(1000), "valid") / 1000
    assert np.abs(windows - share).max() <= 0.02


def test_without_earlier_scores_the_share_is_kept_too() -> None:
    assert follow(ShareTracker(0.3), RANDOM.tolist())[:1000].mean() == pytest.approx(0.3, abs=0.02)


def test_the_highest_scores_are_above_while_scores_do_not_change() -> None:
    above = follow(ShareTracker(0.3, RANDOM, window=5000), RANDOM.tolist())
    highest = np.quantile(RANDOM, 0.7) < RANDOM
    assert (above == highest).mean() > 0.95


def test_a_preview_is_what_updates_do_and_changes_nothing() -> None:
    tracker = ShareTracker(0.3, RANDOM[:500])
    preview = tracker.preview(RANDOM[500:1500].tolist())
    assert preview == tracker.preview(RANDOM[500:1500].tolist())
    assert preview == follow(tracker, RANDOM[500:1500].tolist()).tolist()


def test_equal_scores_have_the_rank_in_their_middle() -> None:
    tracker = ShareTracker(0.3, [1, 1, 2])
    assert [tracker.rank(score) for score in (0, 1, 1.5, 2, 3)] == [
        1 / 8,
        3 / 8,
        5 / 8,
        6 / 8,
        7 / 8,
    ]


def test_the_threshold_is_the_quantile_of_the_scores() -> None:
    tracker = ShareTracker(0.25, range(1000))
    assert tracker.threshold == 750


def test_a_pickled_tracker_goes_on_by_itself() -> None:
    tracker = ShareTracker(0.3, RANDOM[:500])
    other = pickle.loads(pickle.dumps(tracker))  # noqa: S301 - our own bytes
    assert other.preview(RANDOM.tolist()) == tracker.preview(RANDOM.tolist())
    other.update(1.0, True)
    assert other.level != tracker.level


def test_forced_requests_are_made_up_for_but_not_for_long() -> None:
    tracker = ShareTracker(0.3, RANDOM)
    for _ in range(N):
        tracker.update(None, True)
    assert 0 < follow(tracker, RANDOM.tolist())[:1000].mean() < 0.3


def test_threads_lose_no_update() -> None:
    tracker = ShareTracker(0.0, window=1000)
    tracker.level = 0.0
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: tracker.update(0.5, False), range(5000)))
    assert len(tracker._recent) == len(tracker._sorted) == 1000
    assert tracker.level == 0.0


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_can_update_a_tracker_that_a_thread_of_its_parent_updates(finishes_in_child):
    tracker, is_held, release = ShareTracker(0.5), threading.Event(), threading.Event()

    def hold():
        with tracker._lock:
            is_held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(60)
    assert finishes_in_child(lambda: tracker.copy().update(0.5, True))
    release.set()
    thread.join()


@pytest.mark.parametrize(
    ("share", "window"), [(-0.1, 1000), (1.1, 1000), (None, 1000), (float("nan"), 1000), (0.3, 199)]
)
def test_a_share_or_window_out_of_range_is_an_error(share, window) -> None:
    with pytest.raises(InputError, match=r"share|window"):
        ShareTracker(share, window=window)
