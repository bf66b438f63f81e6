"""Connects to servers on this machine, such as Prefect's and MLflow's, without a proxy."""

import os

from pipeline.core.variables import NO_PROXY, NO_PROXY_LOWER

HOSTS = ["127.0.0.1", "localhost", "::1"]


def bypass_proxy() -> None:
    """Add this machine to NO_PROXY, for this process and its children."""
    named = NO_PROXY_LOWER.get() or NO_PROXY.get() or ""
    hosts = [host for host in map(str.strip, named.split(",")) if host]
    if hosts != ["*"]:  # `*` bypasses the proxy for all hosts, but only if it stands alone
        named = ",".join(dict.fromkeys([*hosts, *HOSTS]))
    os.environ |= {NO_PROXY.name: named, NO_PROXY_LOWER.name: named}
