"""How a fleet ends: drained, stopped, stopped twice, in the middle of a restart, late."""

from __future__ import annotations

import pytest

from auflow.errors import UsageError
from auflow.flow.events import Exited, Interrupted, Kill, NurseryEnded, Tick
from auflow.tests.serve.fleet_tools import LANE, Driver, assigned, orders
from auflow.transport import messages as m

ALL = ["detect-0", *(f"{role}-0" for role in LANE)]


def running(**limits: float) -> Driver:
    driver = Driver(**limits)
    driver.add("a")
    driver.all_up()
    return driver


def exits(driver: Driver) -> None:
    driver.tell(*(Exited(worker, 0) for worker in ALL))


@pytest.mark.parametrize("interrupted", [False, True])
def test_stop_finishes_what_is_under_way_then_sends_all_home(interrupted: bool) -> None:
    driver = running()
    actions = driver.tell(Interrupted()) if interrupted else driver.stop()
    assert orders(actions) == [("decode-0", m.Drain())]
    actions = driver.written("a", interrupted=True)
    assert sorted(orders(actions)) == sorted((worker, m.Exit()) for worker in ALL)
    assert driver.state("a") == "ended"
    assert not driver.fleet.done
    exits(driver)
    assert driver.fleet.done
    assert driver.fleet.error is None


def test_drain_leaves_the_service_alive_and_takes_nothing_more() -> None:
    driver = running()
    driver.drain()
    driver.written("a", interrupted=True)
    assert not driver.fleet.done
    with pytest.raises(UsageError, match="draining"):
        driver.add("b")
    assert ("clnf-0", m.Exit()) in orders(driver.stop())
    exits(driver)
    assert driver.fleet.done


def test_stop_twice_kills() -> None:
    driver = running()
    driver.stop()
    assert sorted(a.worker for a in driver.stop() if isinstance(a, Kill)) == sorted(ALL)


def test_stop_without_streams_or_before_anyone_is_ready() -> None:
    driver = Driver()
    assert driver.stop() == [Kill("detect-0")]
    driver.tell(Exited("detect-0", -9))
    assert driver.fleet.done
    driver = Driver()
    driver.add("a")
    actions = driver.stop()
    assert driver.state("a") == "interrupted"
    assert sorted(a.worker for a in actions if isinstance(a, Kill)) == sorted(ALL)


def test_stop_while_a_lane_restarts() -> None:
    driver = running()
    driver.die("sink-0")
    assert driver.state("a") == "restarting"
    driver.stop()
    assert driver.state("a") == "interrupted"
    driver.tell(Tick(), after_s=1.0)
    assert assigned(driver.lane_up()) == []


def test_a_lane_that_falls_while_it_drains_is_waited_for_no_longer() -> None:
    driver = running()
    driver.stop()
    actions = driver.die("clnf-0")
    assert driver.state("a") == "interrupted"
    assert ("detect-0", m.Exit()) in orders(actions)


def test_the_limit_of_a_drain() -> None:
    driver = running()
    driver.stop()
    assert driver.tell(Tick(), after_s=4.9) == []
    actions = driver.tell(Tick(), after_s=0.2)
    assert ("sink-0", m.Exit()) in orders(actions)
    assert driver.state("a") == "interrupted"
    assert "not finished within 5 s" in driver.fleet.streams["a"].reason
    kills = driver.tell(Tick(), after_s=2.1)
    assert sorted(a.worker for a in kills if isinstance(a, Kill)) == sorted(ALL)


def test_whoever_falls_during_the_end_stays_down() -> None:
    driver = running()
    driver.stop()
    driver.written("a", interrupted=True)
    driver.tell(NurseryEnded(-9))
    assert driver.fleet.done
