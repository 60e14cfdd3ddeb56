"""Plain CPU nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_operator.accelerators.quantities import whole_cores

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.accelerators.base import Amounts


class Cpu:
    """Trains on the cores of the pod, shared evenly by its processes."""

    def devices(self, run: FrozenRun) -> Amounts:
        """Return nothing: cores are asked for in `resourcesPerNode`."""
        del run
        return {}

    def hidden(self) -> dict[str, str]:
        """Return nothing: there is no device to find."""
        return {}

    def environment(self, run: FrozenRun) -> dict[str, str]:
        """Return the number of threads of each process.

        Torch counts the node's cores, not the pod's: more threads than the pod may use slow each other down.
        """
        resources, processes = run.spec.resources_per_node, run.spec.num_proc_per_node
        amount = (resources.limits or {}).get("cpu") or (resources.requests or {}).get("cpu")
        if amount is None:
            # Nothing says how many cores there are: leave one process alone, and let several not take each other's.
            return {} if processes == 1 else {"OMP_NUM_THREADS": "1"}
        return {"OMP_NUM_THREADS": str(max(1, whole_cores(amount) // processes))}
