"""Our lines over BusyBox's configuration."""

from __future__ import annotations

from balenawasm.toolchain.busybox_source import PART, merge


def test_our_lines_replace_those_for_the_same_options() -> None:
    config = (
        '# Coreutils\nCONFIG_CAT=y\n# CONFIG_NOMMU is not set\nCONFIG_PATH="a b"\nCONFIG_CATV=y\n'
    )
    ours = '# There is no fork.\nCONFIG_NOMMU=y\n# CONFIG_CAT is not set\nCONFIG_PATH="c"\n'
    assert merge(config, ours).splitlines() == [
        "# Coreutils",
        "CONFIG_CATV=y",
        "CONFIG_NOMMU=y",
        "# CONFIG_CAT is not set",
        'CONFIG_PATH="c"',
    ]


def test_every_option_of_ours_has_a_reason_above_it() -> None:
    groups = (PART / "config").read_text().split("\n\n")
    for group in groups:
        first, *rest = group.splitlines()
        assert first.startswith("# "), group
        assert "CONFIG_" not in first, group
        assert groups.index(group) == 0 or any("CONFIG_" in line for line in rest), group


def test_every_patch_tells_its_reason() -> None:
    patches = list((PART / "patches").glob("*.patch"))
    assert patches
    for patch in patches:
        head, separator, _ = patch.read_text().partition("\n--- ")
        assert separator, patch
        subject, blank, *reason = head.splitlines()
        assert ": " in subject, patch
        assert not blank, patch
        assert reason, patch
