"""The node's address, packet rules and kernel settings: put in place by `up`, taken back by `down`."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from localcluster import settings, shell

_CHAIN = "TUNESMITH-CLUSTER"
_TAKEN = settings.STATE / "host-settings.json"  # what the kernel settings were before we came
_KERNEL = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def up() -> None:
    """Give the node its address and pods their way out.

    Raises:
        ClusterError: the addresses are in use, or another Kubernetes runs its packet rules here.
    """
    _check_free()
    _remember_kernel_settings()
    if not _has_address():
        shell.run(["ip", "address", "add", f"{settings.NODE_ADDRESS}/32", "dev", "lo"])
    if shell.attempt(["ip", "route", "get", settings.API_SERVICE_ADDRESS]).returncode != 0:
        # Without a default route the API server could not even begin to reach a webhook's Service.
        shell.run(["ip", "route", "add", settings.SERVICE_NETWORK, "dev", "lo", "src", settings.NODE_ADDRESS])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="utf-8")
    pods = settings.POD_NETWORK
    _own_chain("nat", "POSTROUTING", [["-s", pods, "!", "-d", settings.NETWORK, "-j", "MASQUERADE"]])
    _own_chain("filter", "FORWARD", [["-s", pods, "-j", "ACCEPT"], ["-d", pods, "-j", "ACCEPT"]])


def down() -> None:
    """Take back what `up`, the kubelet, kube-proxy and the bridge plugin left behind."""
    if shell.find_program("iptables") is not None:
        _remove_rules()
    if _has_address():
        shell.attempt(["ip", "route", "del", settings.SERVICE_NETWORK, "dev", "lo"])
        shell.run(["ip", "address", "del", f"{settings.NODE_ADDRESS}/32", "dev", "lo"])
    if Path(f"/sys/class/net/{settings.BRIDGE}").exists():
        shell.run(["ip", "link", "delete", settings.BRIDGE])
    if shell.find_program("conntrack") is not None:
        shell.attempt(["conntrack", "-D", "-s", settings.POD_NETWORK])
    _restore_kernel_settings()


def _remove_rules() -> None:
    for table, parent in (("nat", "POSTROUTING"), ("filter", "FORWARD")):
        _iptables(table, "-D", parent, "-j", _CHAIN)
        _iptables(table, "-F", _CHAIN)
        _iptables(table, "-X", _CHAIN)
    if _TAKEN.exists():  # while this is there, the KUBE-* chains are ours
        for table in ("nat", "filter", "mangle", "raw"):
            _remove_kubernetes_chains(table)


def leftovers() -> list[str]:
    """What of the network is still there, in words."""
    found = []
    if shell.find_program("iptables") is not None:
        marks = (_CHAIN, *(("KUBE-",) if _TAKEN.exists() else ()))
        found += [
            f"packet rule {line}"
            for table in ("nat", "filter", "mangle")
            for line in _rules(table)
            if any(m in line for m in marks)
        ]
    if _has_address():
        found.append(f"address {settings.NODE_ADDRESS} on lo")
    if Path(f"/sys/class/net/{settings.BRIDGE}").exists():
        found.append(f"network device {settings.BRIDGE}")
    return found


def _check_free() -> None:
    if _TAKEN.exists():
        return
    wanted = ipaddress.ip_network(settings.NETWORK)
    for route in json.loads(shell.run(["ip", "-json", "-4", "route", "show", "table", "all"])):
        target = route["dst"].removeprefix("broadcast ").removeprefix("local ")
        if target != "default" and ipaddress.ip_network(target, strict=False).overlaps(wanted):
            raise shell.ClusterError(
                f"this machine already has a route to {target}, inside the local cluster's {settings.NETWORK}: "
                "change the addresses in tests/cluster/localcluster/settings.py"
            )
    if any("KUBE-SERVICES" in line for line in _rules("nat")):
        raise shell.ClusterError(
            "another Kubernetes runs on this machine (packet rules KUBE-*): use it with CLUSTER=current, or stop it"
        )


def _has_address() -> bool:
    if shell.find_program("ip") is None:
        return False
    return f" {settings.NODE_ADDRESS}/32 " in shell.run(["ip", "-oneline", "address", "show", "dev", "lo"])


def _iptables(table: str, *words: str) -> bool:
    return shell.attempt(["iptables", "-w", "10", "-t", table, *words]).returncode == 0


def _rules(table: str) -> list[str]:
    return shell.attempt(["iptables", "-w", "10", "-t", table, "-S"]).stdout.splitlines()


def _own_chain(table: str, parent: str, rules: list[list[str]]) -> None:
    """A chain of our own with these rules, reached from the top of `parent`."""
    if not _iptables(table, "-N", _CHAIN):
        _iptables(table, "-F", _CHAIN)
    for rule in rules:
        shell.run(["iptables", "-w", "10", "-t", table, "-A", _CHAIN, *rule])
    if not _iptables(table, "-C", parent, "-j", _CHAIN):
        shell.run(["iptables", "-w", "10", "-t", table, "-I", parent, "-j", _CHAIN])


def _remove_kubernetes_chains(table: str) -> None:
    """Flush and delete every KUBE-* chain and the jumps into them, in one transaction."""
    rules = _rules(table)
    chains = [line.split()[1] for line in rules if line.startswith("-N KUBE-")]
    if not chains:
        return
    jumps = [
        line for line in rules if line.startswith("-A ") and not line.startswith("-A KUBE-") and "-j KUBE-" in line
    ]
    script = [f"*{table}", *(f":{chain} - [0:0]" for chain in chains)]
    script += [line.replace("-A ", "-D ", 1) for line in jumps]
    script += [*(f"-X {chain}" for chain in chains), "COMMIT", ""]
    shell.run(["iptables-restore", "-w", "10", "--noflush"], stdin="\n".join(script))


def _remember_kernel_settings() -> None:
    if _TAKEN.exists():  # an `up` that was cut short: what is read now would be our own
        return
    before = {}
    for name in _KERNEL:
        path = Path("/proc/sys") / name
        if path.exists():
            before[name] = path.read_text(encoding="utf-8").strip()
    shell.write_atomically(_TAKEN, json.dumps(before, indent=2))


def _restore_kernel_settings() -> None:
    if not _TAKEN.exists():
        return
    for name, value in json.loads(_TAKEN.read_text(encoding="utf-8")).items():
        path = Path("/proc/sys") / name
        if path.read_text(encoding="utf-8").strip() != value:
            path.write_text(value, encoding="utf-8")
    _TAKEN.unlink()
