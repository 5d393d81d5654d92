"""The artifacts by name: every name has its module, and digests follow our own files."""

from pathlib import Path

import pytest

from balenawasm.build.artifact_contexts import ArtifactNameError
from balenawasm.digest import parse_digest
from balenawasm.runtime.home import Home
from balenawasm.toolchain import provider
from balenawasm.toolchain.provider import Artifacts

ARTIFACTS = Artifacts(Home(Path("/nowhere")), {})


@pytest.mark.parametrize("name", provider._MAKERS)
def test_every_artifact_has_a_digest_of_its_own(name: str) -> None:
    digest = parse_digest(ARTIFACTS.digest(name))
    assert digest == ARTIFACTS.digest(name)
    others = {ARTIFACTS.digest(other) for other in provider._MAKERS if other != name}
    assert digest not in others


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(ArtifactNameError, match="no artifact tool") as caught:
        ARTIFACTS.digest("tool")
    assert "busybox, c, libcxx" in (caught.value.hint or "")
