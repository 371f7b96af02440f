"""On what a training's last bits depend besides data, recipe and code: threads, the processor's kernels, the device."""

from __future__ import annotations

from pathlib import Path

# Instruction sets by which oneDNN and MKL choose their kernels, as Linux names them.
_KERNEL_FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "amx_tile",
)


def numerics(device: str) -> dict[str, str]:
    """Names what else decides the last bits of the weights of a training in this process.

    Args:
        device: On which it computed: `cpu`, `cuda:0` and so on.

    Returns:
        Texts by name: `threads` of torch, `cpu_kernels` (torch's own choice), `cpu_flags` of the processor, `device`
        and, on a GPU, `gpu` and `cudnn`.
    """
    import torch

    facts = {
        "threads": str(torch.get_num_threads()),
        "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
        "cpu_flags": " ".join(cpu_flags()),
        "device": device,
    }
    if device != "cpu" and torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name(torch.device(device))
        facts["cudnn"] = str(torch.backends.cudnn.version())
    return facts


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The processor's instruction sets among those that kernels are chosen by; none where that is not told."""
    if not info.is_file():
        return []
    for line in info.read_text().splitlines():
        if line.startswith("flags"):
            own = set(line.partition(":")[2].split())
            return [flag for flag in _KERNEL_FLAGS if flag in own]
    return []
