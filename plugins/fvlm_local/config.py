"""Settings of the local pool."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge


@frozen(kw_only=True)
class Local:
    """gpus: the GPUs to deal out to the slots, as CUDA_VISIBLE_DEVICES has them ("0,1", or UUIDs); empty: those of
    CUDA_VISIBLE_DEVICES where that is set, else every slot sees all. processes: of one job, through torchrun; each
    slot then needs as many GPUs. threads: CPU threads of a process whose recipe names none; 0: the cores' share.
    fork: whether jobs are forked from a process that has imported what they need, where they are one process on Linux;
    else each imports anew, 4 s of a core.
    """

    gpus: str = ""
    processes: int = field(default=1, validator=ge(1))
    threads: int = field(default=0, validator=ge(0))
    fork: bool = True
