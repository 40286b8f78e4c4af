"""libvirt's errors as the engines' errors."""

import libvirt

from naos.engines.errors import EngineError, GuestRefused, Missing, Unreachable, Unsupported

_LOST_DOMAINS = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
_LOST = frozenset(
    {
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
    }
)
_GUEST = frozenset({libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED})
_UNSUPPORTED = frozenset(
    {
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    }
)
_LOST_WORDS = ("client socket is closed", "keepalive timeout", "end of file while reading", "broken pipe")


def code(error: libvirt.libvirtError) -> int:
    """libvirt's error number, 0 when it set none."""
    return int(error.get_error_code() or 0)


def reason(error: libvirt.libvirtError) -> str:
    return " ".join(str(error.get_error_message() or error).split())


def is_lost(error: libvirt.libvirtError) -> bool:
    """Whether the connection, and not the call, is at fault."""
    text = reason(error).lower()
    return (
        code(error) in _LOST
        or any(words in text for words in _LOST_WORDS)
        or (code(error) == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_error_domain() in _LOST_DOMAINS)
    )


def translated(where: str, what: str, error: libvirt.libvirtError, *, connected: bool = True) -> EngineError:
    """The engines' error for one of libvirt's. connected: whether the connection still stands."""
    number, text = code(error), reason(error)
    if number == libvirt.VIR_ERR_NO_DOMAIN:
        return Missing(where, "such machine", text)
    if not connected or is_lost(error):
        return Unreachable(where, what, text)
    if number in _GUEST:
        return GuestRefused(where, what, text)
    if number in _UNSUPPORTED:
        return Unsupported(where, what, text)
    return EngineError(where, what, text)
