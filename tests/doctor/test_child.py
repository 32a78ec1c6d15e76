"""Looks in a child process: what crashes, hangs or leaves costs its own answer and no other."""

from __future__ import annotations

from auflow.doctor.child import ask


def test_a_crash_and_an_exit_cost_only_their_own_answers() -> None:
    found = ask("any", ["first", "crash", "leave", "last"], module="auflow.tests.doctor.bad_looks")
    assert found["first"] == {"value": "FIRST"}
    assert found["crash"] == {"error": "its process ended with signal 11"}
    assert found["leave"] == {"error": "its process ended with exit code 1 (no license for this library)"}
    assert found["last"] == {"value": "LAST"}
    assert list(found) == ["first", "crash", "leave", "last"]


def test_a_hang_is_given_up() -> None:
    found = ask("any", ["first", "hang"], module="auflow.tests.doctor.bad_looks", patience_s=0.7)
    assert found == {"first": {"value": "FIRST"}, "hang": {"error": "no answer within 0.7 s"}}


def test_what_a_look_raises_is_its_answer() -> None:
    found = ask("import", ["json", "no_such_library"])
    assert found["json"]["value"]
    assert found["no_such_library"] == {"error": "ModuleNotFoundError: No module named 'no_such_library'"}
