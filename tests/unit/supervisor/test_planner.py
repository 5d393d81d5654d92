from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balenawasm.runtime.ports import PublishedPort
from balenawasm.supervisor.current_state import CurrentContainer, CurrentProject, Phase
from balenawasm.supervisor.planner import plan
from balenawasm.supervisor.steps import (
    Create,
    CreateNetwork,
    CreateVolume,
    Forget,
    OpenPorts,
    Remove,
    RemoveNetwork,
    RemoveVolume,
    Start,
    Step,
    Stop,
)
from balenawasm.supervisor.target_state import (
    Condition,
    Dependency,
    ProjectTarget,
    ServiceTarget,
    TargetVolume,
)

PORT = PublishedPort(container_port=80, host_port=8080)


def service(name: str, *needs: str, **more: object) -> ServiceTarget:
    return ServiceTarget(
        name=name,
        image="i",
        image_digest="d",
        layers=(),
        argv=(b"x",),
        depends_on=tuple(Dependency(service=need) for need in needs),
        **more,  # type: ignore[arg-type]
    )


def container(target: ServiceTarget, phase: Phase, **more: object) -> CurrentContainer:
    return CurrentContainer(
        id=f"c-{target.name}",
        service=target.name,
        identity=target.identity,
        phase=phase,
        depends_on=tuple(d.service for d in target.depends_on),
        **more,  # type: ignore[arg-type]
    )


def project(*services: ServiceTarget, volumes: tuple[TargetVolume, ...] = ()) -> ProjectTarget:
    return ProjectTarget(name="p", services=services, volumes=volumes).check()


def current(*containers: CurrentContainer, **more: object) -> CurrentProject:
    return CurrentProject(name="p", network=True, containers=containers, **more)  # type: ignore[arg-type]


def test_the_ground_is_laid_first() -> None:
    target = project(service("a"), volumes=(TargetVolume(name="p_data"),))
    assert plan(CurrentProject(name="p"), target) == (
        CreateNetwork(("a",)),
        CreateVolume("p_data"),
    )
    assert plan(current(), target) == (CreateVolume("p_data"),)
    ready = current(volumes=frozenset({"p_data"}))
    assert plan(ready, target) == (Create("a"),)


def test_ports_are_open_before_the_start_and_stay_over_restarts() -> None:
    web = service("web", ports=(PORT,))
    created = container(web, Phase.CREATED)
    assert plan(current(created), project(web)) == (OpenPorts("web", (PORT,)),)
    opened = {"web": (PORT,)}
    assert plan(current(created, open_ports=opened), project(web)) == (Start("web", "c-web"),)
    ended = container(web, Phase.EXITED, may_start=False)
    assert plan(current(ended, open_ports=opened), project(web)) == ()


def test_dependencies_start_first() -> None:
    api, web = service("api"), service("web", "api")
    target = project(web, api)
    for phase, expected in [
        (Phase.CREATED, (Start("api", "c-api"),)),
        (Phase.STARTING, ()),
        (Phase.RUNNING, (Start("web", "c-web"),)),
    ]:
        now = current(container(api, phase), container(web, Phase.CREATED))
        assert plan(now, target) == expected
    crashed = container(api, Phase.EXITED, may_start=False, exit_code=1)
    assert plan(current(crashed, container(web, Phase.CREATED)), target) == (Start("web", "c-web"),)


@pytest.mark.parametrize(("code", "starts"), [(0, True), (1, False), (None, False)])
def test_waiting_for_completion(code: int | None, starts: bool) -> None:
    job = service("job")
    web = service("web")._replace(
        depends_on=(Dependency(service="job", condition=Condition.COMPLETED),)
    )
    ended = container(job, Phase.EXITED, may_start=False, exit_code=code)
    steps = plan(current(ended, container(web, Phase.CREATED)), project(job, web))
    assert steps == ((Start("web", "c-web"),) if starts else ())


def test_a_changed_service_is_replaced_and_others_are_left_alone() -> None:
    old, new, other = service("a"), service("a", env=(b"X=1",)), service("b")
    target = project(new, other)
    running = container(other, Phase.RUNNING)
    assert plan(current(container(old, Phase.RUNNING), running), target) == (Stop("a", "c-a"),)
    assert plan(current(container(old, Phase.STOPPING), running), target) == ()
    assert plan(current(container(old, Phase.EXITED), running), target) == (Remove("a", "c-a"),)
    assert plan(current(running), target) == (Create("a"),)


def test_a_port_moves_from_one_service_to_another() -> None:
    old_a, new_a, b = service("a", ports=(PORT,)), service("a"), service("b", ports=(PORT,))
    target = project(new_a, b)
    now = current(
        container(old_a, Phase.EXITED), container(b, Phase.CREATED), open_ports={"a": (PORT,)}
    )
    assert plan(now, target) == (Remove("a", "c-a"), OpenPorts("a", ()))
    now = current(container(new_a, Phase.RUNNING), container(b, Phase.CREATED), open_ports={})
    assert plan(now, target) == (OpenPorts("b", (PORT,)),)


def test_a_service_that_left_the_target_goes() -> None:
    gone = service("gone", ports=(PORT,))
    now = current(container(gone, Phase.RUNNING), open_ports={"gone": (PORT,)})
    assert plan(now, project()) == (Stop("gone", "c-gone"),)
    now = current(open_ports={"gone": (PORT,)})
    assert plan(now, project()) == (OpenPorts("gone", ()),)


def test_what_the_user_stopped_stays_stopped_and_frees_its_ports() -> None:
    web = service("web", ports=(PORT,))
    opened = {"web": (PORT,)}
    running = container(web, Phase.RUNNING, wanted=False)
    assert plan(current(running, open_ports=opened), project(web)) == (Stop("web", "c-web"),)
    ended = container(web, Phase.EXITED, wanted=False)
    assert plan(current(ended, open_ports=opened), project(web)) == (OpenPorts("web", ()),)
    assert plan(current(ended), project(web)) == ()


def test_a_project_is_taken_down_from_the_top() -> None:
    api, web = service("api"), service("web", "api")
    both = current(container(api, Phase.RUNNING), container(web, Phase.RUNNING))
    assert plan(both, None) == (Stop("web", "c-web"),)
    stopping = current(container(api, Phase.RUNNING), container(web, Phase.STOPPING))
    assert plan(stopping, None) == ()
    ended = current(container(api, Phase.RUNNING), container(web, Phase.EXITED))
    assert plan(ended, None) == (Stop("api", "c-api"), Remove("web", "c-web"))
    rest = current(volumes=frozenset({"p_v", "p_w"}), open_ports={"web": (PORT,)})
    assert plan(rest, None, purge=("p_v", "p_x")) == (
        OpenPorts("web", ()),
        RemoveNetwork(),
        RemoveVolume("p_v"),
    )
    assert plan(CurrentProject(name="p"), None) == (Forget(),)


def carry_out(now: CurrentProject, step: Step, target: ProjectTarget | None) -> CurrentProject:
    """A model of the executors: every step succeeds at once."""
    others = tuple(c for c in now.containers if c.id != getattr(step, "container", None))
    one = next((c for c in now.containers if c.id == getattr(step, "container", None)), None)
    match step:
        case CreateNetwork():
            return dataclasses.replace(now, network=True)
        case RemoveNetwork():
            return dataclasses.replace(now, network=False)
        case CreateVolume(name):
            return dataclasses.replace(now, volumes=now.volumes | {name})
        case RemoveVolume(name):
            return dataclasses.replace(now, volumes=now.volumes - {name})
        case OpenPorts(name, ports):
            opened = {**now.open_ports, name: ports}
            return dataclasses.replace(now, open_ports={n: p for n, p in opened.items() if p})
        case Create(name):
            assert target is not None
            wanted = target.service(name)
            assert wanted is not None
            new = container(wanted, Phase.CREATED)
            return dataclasses.replace(now, containers=(*now.containers, new))
        case Start():
            assert one is not None
            return dataclasses.replace(
                now, containers=(*others, dataclasses.replace(one, phase=Phase.RUNNING))
            )
        case Stop():
            assert one is not None
            ended = dataclasses.replace(one, phase=Phase.EXITED, may_start=False)
            return dataclasses.replace(now, containers=(*others, ended))
        case Remove():
            return dataclasses.replace(now, containers=others)
        case Forget():
            return now


def converge(now: CurrentProject, target: ProjectTarget | None) -> CurrentProject:
    for _ in range(200):
        steps = plan(now, target)
        if not steps or steps == (Forget(),):
            return now
        now = carry_out(now, steps[0], target)
    raise AssertionError(f"no end: {plan(now, target)}")


NAMES = ["a", "b", "c", "d"]


@st.composite
def targets(draw: st.DrawFn) -> ProjectTarget:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    services = []
    for index, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        ports = (PublishedPort(container_port=1, host_port=9000 + index),)
        services.append(
            service(name, *needs, env=(draw(st.sampled_from([b"A=1", b"A=2"])),), ports=ports)
        )
    return project(*services, volumes=(TargetVolume(name="p_v"),))


@given(st.lists(targets(), min_size=1, max_size=4))
def test_every_chain_of_targets_is_reached_and_undone(chain: list[ProjectTarget]) -> None:
    now = CurrentProject(name="p")
    for target in chain:
        now = converge(now, target)
        assert {c.identity for c in now.containers} == {s.identity for s in target.services}
        assert all(c.phase is Phase.RUNNING for c in now.containers)
        assert now.open_ports == {s.name: s.ports for s in target.services}
    end = converge(now, None)
    assert not end.containers
    assert not end.open_ports
    assert not end.network
    assert end.volumes == {"p_v"}
