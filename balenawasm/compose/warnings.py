"""Keys that are not understood: named in a warning, never dropped in silence.

Three sorts: keys of the compose specification that are not supported yet; those among them whose
absence changes what a service may do or how safe it is, with a sentence that says what happens
instead; and keys that compose does not know, which are often misspelt.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from balenawasm.compose.document import Item

EXTENSION = "x-balenawasm"
_EXTENSION_PREFIX = "x-"

NOT_YET_SERVICE = frozenset(
    [
        "annotations",
        "attach",
        "blkio_config",
        "cgroup",
        "cgroup_parent",
        "container_name",
        "cpu_count",
        "cpu_percent",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "cpuset",
        "develop",
        "dns",
        "dns_opt",
        "dns_search",
        "domainname",
        "gw_priority",
        "init",
        "isolation",
        "label_file",
        "mac_address",
        "mem_reservation",
        "mem_swappiness",
        "memswap_limit",
        "models",
        "oom_kill_disable",
        "oom_score_adj",
        "platform",
        "post_start",
        "pre_stop",
        "provider",
        "pull_policy",
        "pull_refresh_after",
        "runtime",
        "scale",
        "shm_size",
        "stdin_open",
        "sysctls",
        "userns_mode",
    ]
)
"""Service keys of the specification that may be missing without harm."""

CHANGED_SERVICE: Mapping[str, str] = {
    "cap_add": "the service gets no capabilities",
    "cap_drop": "the service has no capabilities to begin with",
    "configs": "the files of its configs will be missing",
    "credential_spec": "the service gets no credentials",
    "device_cgroup_rules": "the service gets no devices",
    "devices": "the service gets no devices",
    "external_links": "the names it gives will not resolve",
    "extends": "what the other service says is missing here",
    "extra_hosts": "the names it gives will not resolve",
    "gpus": "the service gets no GPUs",
    "group_add": "the service joins no groups",
    "healthcheck": "the service counts as healthy as soon as it runs",
    "ipc": "the service shares no memory with others",
    "links": "services reach each other by their names only",
    "networks": "all services of the project share one network",
    "pid": "the service does not see other processes",
    "privileged": "the service gets no privileges",
    "profiles": "the service always starts",
    "read_only": "the service may write to its root file system",
    "secrets": "the files of its secrets will be missing",
    "security_opt": "only balenawasm's own sandbox protects the host",
    "use_api_socket": "the service gets no socket",
    "user": "the service runs as root inside its sandbox",
    "uts": "the service does not see the host's name",
    "volumes_from": "the other service's volumes will be missing",
}
"""Service keys whose absence is to be said aloud, with what happens instead."""

CHANGED_PROJECT: Mapping[str, str] = {
    "configs": "services will not find the files",
    "include": "what the other files say is missing",
    "models": "services will not find the models",
    "networks": "all services of the project share one network",
    "secrets": "services will not find the files",
}
CHANGED_BUILD: Mapping[str, str] = {
    "additional_contexts": "only the build's own context can be copied from",
    "dockerfile_inline": "the Balenafile is used",
    "secrets": "the build gets no secrets",
    "ssh": "the build gets no SSH keys",
}
NOT_YET_BUILD = frozenset(
    [
        "cache_from",
        "cache_to",
        "entitlements",
        "extra_hosts",
        "isolation",
        "labels",
        "no_cache",
        "platforms",
        "privileged",
        "provenance",
        "pull",
        "sbom",
        "shm_size",
        "tags",
        "ulimits",
    ]
)


class Warnings:
    """Collects warnings in the order they are found, each once."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        """Add a warning that stands for itself."""
        self._texts[text] = None

    def add_at(self, item: Item, text: str) -> None:
        """Add a warning about one value: file, line and key path go in front."""
        self.add(f"{item.where}: {item.path} {text}")

    def unknown_keys(
        self,
        fields: Mapping[str, Item],
        supported: Iterable[str],
        *,
        not_yet: Iterable[str] = (),
        changed: Mapping[str, str] | None = None,
    ) -> None:
        """Warn of every key that is not `supported`; extensions (`x-…`) pass."""
        known = frozenset(supported)
        later = frozenset(not_yet)
        consequences = changed or {}
        for key, item in fields.items():
            if key in known or key.startswith(_EXTENSION_PREFIX):
                continue
            if key in consequences:
                self.add_at(item, f"is not supported yet: {consequences[key]}")
            elif key in later:
                self.add_at(item, "is not supported yet and is ignored")
            else:
                close = difflib.get_close_matches(key, known, n=1)
                close = close or difflib.get_close_matches(key, [*later, *consequences], n=1)
                advice = f"; did you mean {close[0]}?" if close else ""
                self.add_at(item, f"is not supported and is ignored{advice}")

    def all(self) -> tuple[str, ...]:
        """Return the warnings so far."""
        return tuple(self._texts)
