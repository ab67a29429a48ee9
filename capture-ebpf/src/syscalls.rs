//! System calls by number and ABI, and their arguments from the saved registers.

use core::ffi::c_void;

use crate::maps::offset;
use crate::verifier::member;

/// `TS_COMPAT` (`arch/x86/include/asm/thread_info.h`): the call came in by a 32-bit entry.
const TS_COMPAT: u32 = 0x2;
/// `__X32_SYSCALL_BIT`
const X32: u32 = 0x4000_0000;
/// `pt_regs.orig_ax`. A tracer of processes sees it at this offset, too (`arch/x86/include/uapi/asm/ptrace.h`), so that it is the same in every kernel;
/// every call of the host would look it up otherwise.
const REGS_NR: u32 = 120;

/// What a call did with its second argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `write(fd, buffer, …)`
    Write,
    /// `writev(fd, iov, count)`, `pwritev2(fd, iov, count, …)`
    WriteVector,
}

/// Where a call that moves bytes past `write` puts them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// Into the file behind this argument.
    Argument(usize),
    /// Wherever its submissions say.
    Anything,
}

/// The width of pointers and lengths in the caller's memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit registers and structures.
    Native,
    /// 32-bit registers and structures.
    Compat,
    /// 64-bit registers, 32-bit structures.
    X32,
}

/// Saved user registers of a system call, as the verifier knows them: `pt_regs`.
#[derive(Clone, Copy)]
pub struct Registers(pub *const c_void);

impl Registers {
    /// Number of the call, with the bit that marks x32: the lower half of what was in the register, which is what the kernel looks at.
    #[inline(always)]
    pub fn number(self) -> u32 {
        // SAFETY: the verifier types the registers by BTF.
        unsafe { member(self.0, REGS_NR) }
    }

    /// The first three arguments.
    #[inline(always)]
    pub fn arguments(self, abi: Abi) -> [u64; 3] {
        // SAFETY: the verifier types the registers by BTF.
        unsafe {
            if abi == Abi::Compat {
                let low = |offset: u32| member::<u64>(self.0, offset) & 0xffff_ffff;
                [
                    low(offset!(regs_compat_args[0])),
                    low(offset!(regs_compat_args[1])),
                    low(offset!(regs_compat_args[2])),
                ]
            } else {
                [
                    member(self.0, offset!(regs_args[0])),
                    member(self.0, offset!(regs_args[1])),
                    member(self.0, offset!(regs_args[2])),
                ]
            }
        }
    }
}

/// How the running call of `task` was entered.
#[inline(always)]
pub fn abi(task: *const c_void, number: u32) -> Abi {
    // SAFETY: the verifier types `task` by BTF.
    if unsafe { member::<u32>(task, offset!(task_status)) } & TS_COMPAT != 0 {
        Abi::Compat
    } else if number & X32 != 0 {
        Abi::X32
    } else {
        Abi::Native
    }
}

/// What a number can stand for in any ABI: what nearly all calls are sorted out by.
pub struct Class;

impl Class {
    pub const OTHERS: u8 = 0;
    /// `read`, natively: the relays of the known runtimes are 64-bit and use nothing else. Nothing is done when it is entered.
    pub const READS: u8 = 1;
    pub const WRITES: u8 = 2;
    /// Calls that replace or close a descriptor.
    pub const REPLACES: u8 = 3;
    /// Calls that move bytes past `write`.
    pub const BYPASSES: u8 = 4;
}

/// `read`; in another ABI no call of ours has the number, and what it reads there is not looked at, because no relay is such a program.
const READ: usize = 0;

/// Numbers beyond are none of ours; a power of two, for the verifier.
const NUMBERS: usize = 1024;

/// One load in place of the comparisons that two dozen numbers would take: every call of the host is looked up twice.
static CLASSES: [u8; NUMBERS] = classes();

const fn classes() -> [u8; NUMBERS] {
    let mut classes = [Class::OTHERS; NUMBERS];
    classes[READ] = Class::READS;
    let mut number = READ + 1;
    while number < NUMBERS {
        let each = [(number as u32, Abi::Native), (number as u32, Abi::Compat), (number as u32 | X32, Abi::X32)];
        let mut abi = 0;
        while abi < each.len() {
            let (call, abi_of_call) = each[abi];
            if write_call(call, abi_of_call).is_some() {
                classes[number] = Class::WRITES;
            } else if replaced_argument(call, abi_of_call).is_some() {
                classes[number] = Class::REPLACES;
            } else if bypass_call(call, abi_of_call).is_some() {
                classes[number] = Class::BYPASSES;
            }
            abi += 1;
        }
        number += 1;
    }
    classes
}

/// The [`Class`] of a number.
#[inline(always)]
pub fn class(number: u32) -> u8 {
    CLASSES.get((number & !X32) as usize).copied().unwrap_or(Class::OTHERS)
}

/// The same, of a number as the entry hook has it: an `int`, in 64 bits. Cut to 32 of them it would take a mask in a register of its own.
#[inline(always)]
pub fn class_of_long(number: u64) -> u8 {
    CLASSES.get((number & !u64::from(X32)) as usize).copied().unwrap_or(Class::OTHERS)
}

/// The call that a number stands for.
#[inline(always)]
pub const fn write_call(number: u32, abi: Abi) -> Option<Call> {
    // arch/x86/entry/syscalls/syscall_{64,32}.tbl
    match abi {
        Abi::Native => match number {
            1 => Some(Call::Write),
            20 | 328 => Some(Call::WriteVector),
            _ => None,
        },
        Abi::Compat => match number {
            4 => Some(Call::Write),
            146 | 379 => Some(Call::WriteVector),
            _ => None,
        },
        Abi::X32 => match number & !X32 {
            1 => Some(Call::Write),
            516 | 547 => Some(Call::WriteVector),
            _ => None,
        },
    }
}

/// The bypassing call that a number stands for.
#[inline(always)]
pub const fn bypass_call(number: u32, abi: Abi) -> Option<Bypass> {
    // arch/x86/entry/syscalls/syscall_{64,32}.tbl. io_uring is taken note of when the ring is made, because with a
    // kernel thread that polls it there need not be another call.
    const SENDFILE: Bypass = Bypass::Argument(0);
    const SPLICE: Bypass = Bypass::Argument(2);
    const TEE: Bypass = Bypass::Argument(1);
    const VMSPLICE: Bypass = Bypass::Argument(0);
    match abi {
        Abi::Native => match number {
            40 => Some(SENDFILE),
            275 => Some(SPLICE),
            276 => Some(TEE),
            278 => Some(VMSPLICE),
            209 | 425 | 426 => Some(Bypass::Anything),
            _ => None,
        },
        Abi::Compat => match number {
            187 | 239 => Some(SENDFILE),
            313 => Some(SPLICE),
            315 => Some(TEE),
            316 => Some(VMSPLICE),
            248 | 425 | 426 => Some(Bypass::Anything),
            _ => None,
        },
        Abi::X32 => match number & !X32 {
            40 => Some(SENDFILE),
            275 => Some(SPLICE),
            276 => Some(TEE),
            532 => Some(VMSPLICE),
            425 | 426 | 544 => Some(Bypass::Anything),
            _ => None,
        },
    }
}

/// Which argument of a call is the descriptor that it replaces or closes.
#[inline(always)]
pub const fn replaced_argument(number: u32, abi: Abi) -> Option<usize> {
    const CLOSE: usize = 0;
    const DUP: usize = 1;
    match abi {
        Abi::Native | Abi::X32 => match number & !X32 {
            3 => Some(CLOSE),
            33 | 292 => Some(DUP),
            _ => None,
        },
        Abi::Compat => match number {
            6 => Some(CLOSE),
            63 | 330 => Some(DUP),
            _ => None,
        },
    }
}
