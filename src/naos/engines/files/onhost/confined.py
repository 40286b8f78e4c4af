"""Giving up every right: what a process that reads what guests wrote can do afterwards is read its open files and answer.

No file is opened any more, no program run, no socket made (seccomp, by a list of what is allowed); the root folder is an empty one, the user
nobody, memory and processor time are bounded. A kernel that does not do all of it is refused.
"""

import ctypes
import os
import platform
import resource
import struct

_NOBODY = 65534
_MEMORY = 2 * 2**30  # bytes of address space
_NO_NEW_RIGHTS, _SECCOMP, _FILTER, _DUMPABLE = 38, 22, 2, 4
_MACHINES = {
    # read write close fstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn pread64 select mremap madvise
    # nanosleep setitimer getpid accept sendto recvfrom shutdown clone fork exit wait4 fcntl gettid futex restart_syscall clock_gettime
    # clock_nanosleep exit_group pselect6 ppoll set_robust_list accept4 getrandom rseq, in the order of their numbers
    "x86_64": (
        0xC000003E,
        (0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 23, 25, 28, 35, 38, 39, 43, 44, 45, 48, 56, 57, 60, 61, 72, 186, 202, 219, 228, 230,
         231, 270, 271, 273, 288, 318, 334),
    ),
    "aarch64": (
        0xC00000B7,
        (25, 57, 62, 63, 64, 67, 72, 73, 80, 93, 94, 98, 99, 101, 103, 113, 115, 128, 134, 135, 139, 172, 178, 202, 206, 207, 210, 214, 215,
         216, 220, 222, 226, 233, 242, 260, 278, 293),
    ),
}  # fmt: skip
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused: EPERM
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine(empty: str) -> None:
    """For good, this process and all that it starts. empty: a folder without files. Raises OSError, KeyError."""
    architecture, allowed = _MACHINES[platform.machine()]
    library = ctypes.CDLL(None, use_errno=True)
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_NPROC, 512),
    ):
        resource.setrlimit(kind, (most, most))
    os.chroot(empty)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    for option, value in ((_DUMPABLE, 0), (_NO_NEW_RIGHTS, 1)):
        if library.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl {option}")
    text = _filter(architecture, allowed)
    kept = ctypes.create_string_buffer(text, len(text))
    program = _Program(len(text) // 8, ctypes.cast(kept, ctypes.c_void_p))
    if library.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel has no seccomp")


def _filter(architecture: int, allowed: tuple[int, ...]) -> bytes:
    """Of the kernel's own small machine: another architecture's calls kill, calls that are not listed are refused."""
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for number in allowed:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
