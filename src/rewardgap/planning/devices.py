"""Devices by name: their memory and speed, as their makers' data sheets give them."""

from collections.abc import Mapping
from dataclasses import dataclass

from rewardgap.configs.planning import DeviceName

GB, TERA = 10**9, 1e12


@dataclass(frozen=True)
class NamedDevice:
    """A device.

    Attributes:
        memory: Bytes; a little more is there than the GB of the data sheet.
        peak: Products in bfloat16 without sparsity, in floating-point operations per second.
        source: The data sheet.
    """

    memory: int
    peak: float
    source: str


NAMED_DEVICES: Mapping[DeviceName, NamedDevice] = {
    "a10": NamedDevice(24 * GB, 125 * TERA, "NVIDIA A10 data sheet"),
    "l4": NamedDevice(24 * GB, 121 * TERA, "NVIDIA L4 data sheet"),
    "l40s": NamedDevice(48 * GB, 362 * TERA, "NVIDIA L40S data sheet"),
    "a100-40gb": NamedDevice(40 * GB, 312 * TERA, "NVIDIA A100 data sheet"),
    "a100": NamedDevice(80 * GB, 312 * TERA, "NVIDIA A100 data sheet, 80 GB"),
    "h100": NamedDevice(80 * GB, 989 * TERA, "NVIDIA H100 data sheet, SXM"),
    "h200": NamedDevice(141 * GB, 989 * TERA, "NVIDIA H200 data sheet, SXM"),
    "mi300x": NamedDevice(192 * GB, 1307 * TERA, "AMD Instinct MI300X data sheet"),
}
