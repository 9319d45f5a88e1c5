//! The few `bpf(2)` commands that aya does not offer as needed here: links taken over in place, and maps used from any
//! thread without a lock.

use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

// `enum bpf_cmd` of the kernel's uapi/linux/bpf.h.
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;
const LINK_DETACH: i32 = 34;

/// `asm-generic/socket.h`
const SO_NETNS_COOKIE: i32 = 71;

/// `enum bpf_attach_type`: the hooks that policyd uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Hook {
    Egress = 1,
    SockCreate = 2,
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    SendMsg4 = 14,
    SendMsg6 = 15,
    GetPeerName4 = 29,
    GetPeerName6 = 30,
}

// The members of the kernel's `union bpf_attr` that these commands read. The kernel takes what follows a shorter one as 0.

#[repr(C)]
#[derive(Clone, Copy)]
struct MapAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The value that `map` holds for `key`, if there is one.
///
/// # Safety
///
/// `K` and `V` have exactly the map's key and value sizes, and every bit pattern is a `V`.
pub(super) unsafe fn map_lookup<K: Copy, V: Copy + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let attr = MapAttr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        _pad: 0,
        key: (&raw const *key) as u64,
        value: (&raw mut value) as u64,
        flags: 0,
    };
    // SAFETY: key and value live across the call and have the map's sizes, as the caller vouches.
    match unsafe { bpf(MAP_LOOKUP_ELEM, &attr) } {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the value that `map` holds for `key`.
///
/// # Safety
///
/// `K` and `V` have exactly the map's key and value sizes.
pub(super) unsafe fn map_update<K: Copy, V: Copy>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let attr = MapAttr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        _pad: 0,
        key: (&raw const *key) as u64,
        value: (&raw const *value) as u64,
        flags: 0,
    };
    // SAFETY: key and value live across the call and have the map's sizes, as the caller vouches.
    unsafe { bpf(MAP_UPDATE_ELEM, &attr) }.map(drop)
}

/// The `T` whose bytes these are, if they are as many.
pub(super) fn from_bytes<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    // SAFETY: as long as a `T`, of which every bit pattern is a value (`Pod`); read without regard to alignment.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A network namespace's cookie, as the kernel's programs see it, from a socket in it (`SO_NETNS_COOKIE`, Linux 5.14).
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the cookie.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// Watches `inner` for input from the current runtime.
///
/// # Safety
///
/// `inner` always gives the same descriptor and keeps it open until it is dropped.
pub(super) unsafe fn watch<T: AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the caller's.
    Ok(unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) }?)
}

/// Attaches `program` to `cgroup`. The link ends with the last reference to it: this descriptor, or a pin.
///
/// No flags: cgroup links always stand beside those of others, and `BPF_F_ALLOW_MULTI` would be refused.
pub(super) fn link_create(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, hook: Hook) -> io::Result<OwnedFd> {
    let create = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: hook as u32,
        flags: 0,
    };
    // SAFETY: the attribute holds no pointers.
    unsafe { bpf_fd(LINK_CREATE, &create) }
}

/// Puts `program` in the place of the one that `link` runs, at once: no connect meets neither.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let update = LinkUpdate {
        link_fd: link.as_raw_fd().cast_unsigned(),
        new_prog_fd: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the attribute holds no pointers.
    unsafe { bpf(LINK_UPDATE, &update) }.map(drop)
}

/// Ends `link` now. Removing its last pin would end it too, but some time later: the kernel leaves that to a worker.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let link = link.as_raw_fd().cast_unsigned();
    // SAFETY: the attribute is the descriptor, and holds no pointers.
    unsafe { bpf(LINK_DETACH, &link) }.map(drop)
}

/// Pins a link or map at `path`, which must be in bpffs and not exist.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let obj = ObjAttr { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd().cast_unsigned(), file_flags: 0 };
    // SAFETY: the path lives across the call and ends with a zero byte.
    unsafe { bpf(OBJ_PIN, &obj) }.map(drop)
}

/// Opens what is pinned at `path`.
pub(super) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let obj = ObjAttr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: as above.
    unsafe { bpf_fd(OBJ_GET, &obj) }
}

/// # Safety
///
/// `command` gives a new file descriptor, and the pointers in `attr` are good for it.
unsafe fn bpf_fd<T>(command: i32, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
///
/// The pointers in `attr` are good for `command`.
unsafe fn bpf<T>(command: i32, attr: &T) -> io::Result<c_long> {
    // SAFETY: the kernel reads `size` bytes of the attribute, and what the caller vouches for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
