"""Reasons declare what follows from them once; retry, fetch and commit read it there."""

import pickle

import pytest

from capfilt.core.schema import Reason, Trait

STAGES = {"read", "fetch", "decode", "model", "any"}


def having(trait: Trait) -> set[str]:
    return {reason.value for reason in Reason if reason.has(trait)}


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_value_and_says_what_it_means(reason: Reason) -> None:
    assert reason == reason.value == str(reason)
    assert Reason(reason.value) is reason
    assert pickle.loads(pickle.dumps(reason)) is reason  # failures travel between processes
    assert reason.stage in STAGES
    assert reason.meaning


def test_what_is_final_cannot_be_retried() -> None:
    assert not having(Trait.FINAL) & having(Trait.RETRYABLE)


def test_failures_of_a_server_are_retryable() -> None:
    assert having(Trait.SERVER_DOWN) < having(Trait.RETRYABLE)


def test_the_retryable_ones_are_those_that_stored_runs_know() -> None:
    """`failures.retryable` of older runs was written by this list; `capfilt retry` must mean the same rows."""
    assert having(Trait.RETRYABLE) == {"dns", "connect", "timeout", "http_429", "http_5xx", "protocol", "host_down"} | {
        "chunk_full"
    }
    assert having(Trait.FINAL) == {"bad_row", "bad_container", "no_image", "missing_file", "bad_url", "forgotten"}


def test_short_names_are_unique() -> None:
    names = [reason.short for reason in Reason]
    assert len(set(names)) == len(names)
    assert {"403", "404", "4xx", "429", "5xx", "timeout"} <= set(names)
