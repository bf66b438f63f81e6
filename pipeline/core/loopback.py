"""Servers on this machine, such as Prefect's and MLflow's, are reached without a proxy."""

import os

from pipeline.core.variables import NO_PROXY, NO_PROXY_LOWER

HOSTS = ["127.0.0.1", "localhost", "::1"]


def bypass_proxy() -> None:
    """Add this machine to NO_PROXY, for this process and all that it starts."""
    named = NO_PROXY_LOWER.get() or NO_PROXY.get() or ""
    hosts = [host for host in map(str.strip, named.split(",")) if host]
    if hosts != ["*"]:  # everything is; beside other names the star would mean nothing
        named = ",".join(dict.fromkeys([*hosts, *HOSTS]))
    os.environ |= {NO_PROXY.name: named, NO_PROXY_LOWER.name: named}
