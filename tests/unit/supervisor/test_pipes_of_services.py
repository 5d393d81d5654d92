"""One service's output as another's input, through restarts of either."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from daemon_parts import end, project, service, status_of, until

from balenawasm.supervisor.client import SupervisorClient, SupervisorError, ensure_running
from balenawasm.supervisor.status import ServiceState
from balenawasm.supervisor.target_state import RestartPolicy, TargetStateError

if TYPE_CHECKING:
    from balenawasm.digest import Digest
    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.target_state import ProjectTarget

EPIPE = 64
"""wasi_snapshot_preview1's number."""


def pipeline(layer: Digest, writer: bytes, reader: bytes = b"echo") -> ProjectTarget:
    return project(
        service("writer", layer, writer, stdout_to="reader"),
        service("reader", layer, reader, stdin_from="writer"),
    )


def lines(client: SupervisorClient, name: str, stream: str = "stdout") -> list[str]:
    found = client.logs("shop", services=[name])
    return [line.line for line in found if line.stream == stream]


def numbers(client: SupervisorClient) -> list[int]:
    return [int(line) for line in lines(client, "reader")]


def state(client: SupervisorClient, name: str) -> ServiceState:
    return status_of(client, name).state


def test_every_line_arrives_and_then_the_end(client: SupervisorClient, layer: Digest) -> None:
    client.apply(pipeline(layer, b"burst"))
    until(lambda: state(client, "reader") is ServiceState.EXITED)
    assert numbers(client) == list(range(1000))
    assert status_of(client, "reader").exit_code == 0
    # As with a pipe on Unix, what goes into it is not in the log.
    assert lines(client, "writer") == []


def test_the_writer_does_not_notice_a_restart_of_the_reader(
    client: SupervisorClient, layer: Digest
) -> None:
    client.apply(pipeline(layer, b"drip"))
    before = status_of(client, "writer")
    until(lambda: len(numbers(client)) > 20)
    client.restart("shop", "reader")
    count = len(numbers(client))
    until(lambda: len(numbers(client)) > count + 20)
    found = numbers(client)
    assert found[0] == 0
    # What nobody had read is still there: nothing comes twice and the order stays.
    assert found == sorted(set(found))
    assert found[-1] - len(found) < 500  # at most what the dead reader had just taken: 4096 bytes
    assert status_of(client, "writer") == before


def test_the_reader_does_not_notice_a_restart_of_the_writer(
    client: SupervisorClient, layer: Digest
) -> None:
    client.apply(pipeline(layer, b"drip"))
    before = status_of(client, "reader")
    until(lambda: len(numbers(client)) > 20)
    client.restart("shop", "writer")
    until(lambda: numbers(client).count(20) == 2)
    assert numbers(client)[0] == 0
    assert status_of(client, "reader") == before


def test_a_crashing_writer_ends_no_input(client: SupervisorClient, layer: Digest) -> None:
    target = pipeline(layer, b"burst")
    again = target.services[0]._replace(restart=RestartPolicy.ALWAYS)
    client.apply(target._replace(services=(again, target.services[1])))
    until(lambda: len(numbers(client)) >= 3000)
    assert state(client, "reader") is ServiceState.RUNNING
    # The user ends it for good: now the reader gets the end of its input.
    client.stop("shop", "writer")
    until(lambda: state(client, "reader") is ServiceState.EXITED)
    assert status_of(client, "reader").exit_code == 0


def test_a_stopped_reader_breaks_the_pipe(client: SupervisorClient, layer: Digest) -> None:
    client.apply(pipeline(layer, b"drip"))
    until(lambda: bool(numbers(client)))
    client.stop("shop", "reader")
    until(lambda: state(client, "writer") is ServiceState.EXITED)
    assert status_of(client, "writer").exit_code == EPIPE
    # Both are over: whichever is started first waits for the other one.
    client.start("shop", "reader")
    client.start("shop", "writer")
    count = len(numbers(client))
    until(lambda: len(numbers(client)) > count + 10)
    assert state(client, "writer") is ServiceState.RUNNING


def test_a_full_pipe_holds_the_writer_back(client: SupervisorClient, layer: Digest) -> None:
    client.apply(pipeline(layer, b"flood", b"sleep"))
    until(lambda: lines(client, "writer", "stderr") == ["."])
    time.sleep(0.3)
    # 64 KiB are 7281 lines.
    assert lines(client, "writer", "stderr") == ["."]
    # The same container of the writer goes on where it was when somebody reads.
    writer = status_of(client, "writer").container
    client.apply(pipeline(layer, b"flood", b"echo"))
    until(lambda: len(lines(client, "writer", "stderr")) > 3)
    assert numbers(client)[:20000] == list(range(20000))[: len(numbers(client))]
    assert status_of(client, "writer").container == writer


def test_a_pipe_that_leaves_the_target_is_closed(
    home: Home, client: SupervisorClient, layer: Digest
) -> None:
    client.apply(pipeline(layer, b"drip"))
    client.apply(project(service("writer", layer, b"drip"), service("reader", layer, b"echo")))
    until(lambda: state(client, "reader") is ServiceState.EXITED)
    until(lambda: len(lines(client, "writer")) > 5)
    client.remove("shop")


def test_a_pipe_has_two_ends(client: SupervisorClient, layer: Digest) -> None:
    target = project(service("reader", layer, b"echo", stdin_from="writer"))
    with pytest.raises(TargetStateError, match="only one end"):
        target.check()
    with pytest.raises(SupervisorError, match="only one end"):
        client.apply(target)


def test_a_writer_runs_on_when_its_reader_comes_back(
    client: SupervisorClient, layer: Digest
) -> None:
    """The reader is stopped while the writer sleeps, and started again before it writes."""
    target = pipeline(layer, b"sleep")
    client.apply(target)
    until(lambda: lines(client, "reader") == ["up"])
    client.stop("shop", "reader")
    client.start("shop", "reader")
    client.apply(pipeline(layer, b"burst"))
    until(lambda: state(client, "reader") is ServiceState.EXITED)
    assert lines(client, "reader")[1:] == [f"{number:08}" for number in range(1000)]


def test_the_next_supervisor_makes_the_pipe_anew(
    home: Home, client: SupervisorClient, layer: Digest
) -> None:
    target = pipeline(layer, b"drip")
    both = tuple(one._replace(restart=RestartPolicy.ALWAYS) for one in target.services)
    client.apply(target._replace(services=both))
    until(lambda: bool(numbers(client)))
    end(home)
    client = ensure_running(home)
    until(lambda: numbers(client).count(0) == 2)
    until(lambda: numbers(client).count(20) >= 1)
