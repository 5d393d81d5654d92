from __future__ import annotations

import pytest

from balenawasm.supervisor.restart import LONGEST_DELAY, restart_delay
from balenawasm.supervisor.target_state import RestartPolicy, ServiceTarget


def service(policy: RestartPolicy, retries: int | None = None) -> ServiceTarget:
    return ServiceTarget(
        name="a",
        image="i",
        image_digest="d",
        layers=(),
        argv=(b"x",),
        restart=policy,
        restart_retries=retries,
    )


@pytest.mark.parametrize("code", [0, 1, 137])
def test_policies(code: int) -> None:
    def delay(policy: RestartPolicy, limit: int | None = None, retries: int = 0) -> float | None:
        return restart_delay(service(policy, limit), code, quick_failures=1, retries=retries)

    assert delay(RestartPolicy.NO) is None
    assert delay(RestartPolicy.ALWAYS) == 0.1
    assert delay(RestartPolicy.UNLESS_STOPPED) == 0.1
    assert delay(RestartPolicy.ON_FAILURE) == (None if code == 0 else 0.1)
    assert delay(RestartPolicy.ON_FAILURE, 3, 2) == (None if code == 0 else 0.1)
    assert delay(RestartPolicy.ON_FAILURE, 3, 3) is None


def test_the_delay_doubles_up_to_a_minute() -> None:
    always = service(RestartPolicy.ALWAYS)
    delays = [
        restart_delay(always, 1, quick_failures=count, retries=count) or 0.0
        for count in range(1, 30)
    ]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays == sorted(delays)
    assert max(delays) == LONGEST_DELAY
