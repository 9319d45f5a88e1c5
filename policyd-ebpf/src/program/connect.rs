//! `connect4` and `connect6`: notes whom a captured process asks for, and sends it to policyd.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_netns_cookie,
    bpf_ktime_get_boot_ns,
};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use policyd_ebpf::{Address, Cause, Counter, Listener, Origin, TOKEN_OWN, TOKEN_UPSTREAM, is_v4, mapped};

use super::count::{count, refused};
use super::listener::{LOOPBACK4, LOOPBACK6, alive4, alive6};
use super::maps::{CAPTURED_PORTS, CLI, LISTENERS, SETTINGS, TOKEN};
use super::sockaddr::{Destination, destination4, destination6, kind, set4, set6, socket};
use super::storage;

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

const NO_LISTENER: Listener = Listener { port4: 0, port6: 0 };

/// The call fails with EPERM.
const REFUSE: i32 = 0;
/// The call goes on.
const PROCEED: i32 = 1;

/// IPv4 connects.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    if kind(&ctx) != (SOCK_STREAM, IPPROTO_TCP) {
        return PROCEED;
    }
    match judge(&ctx, &destination4(&ctx)) {
        Verdict::Proceed => PROCEED,
        Verdict::Refuse => REFUSE,
        Verdict::Redirect(to) => {
            set4(&ctx, &to);
            PROCEED
        }
    }
}

/// IPv6 connects, v4-mapped ones included: those run only this program.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    if kind(&ctx) != (SOCK_STREAM, IPPROTO_TCP) {
        return PROCEED;
    }
    match judge(&ctx, &destination6(&ctx)) {
        Verdict::Proceed => PROCEED,
        Verdict::Refuse => REFUSE,
        Verdict::Redirect(to) => {
            set6(&ctx, &to);
            PROCEED
        }
    }
}

enum Verdict {
    Proceed,
    Refuse,
    Redirect(Destination),
}

/// What becomes of a TCP connect. Every path leaves `CLI` as it must be: a second connect on the same socket, or one
/// after `connect(AF_UNSPEC)`, comes here again.
#[inline(always)]
fn judge(ctx: &SockAddrContext, destination: &Destination) -> Verdict {
    let sk = socket(ctx);
    if sk.is_null() {
        return Verdict::Refuse;
    }
    // SAFETY: the helper takes the context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    // SAFETY: entries change only as whole values of four bytes; a torn read is not possible. A value and not an option
    // of one: the compiler would spill the undefined inside of `None`, which the verifier refuses.
    let listener = unsafe { LISTENERS.get(netns) }.copied().unwrap_or(NO_LISTENER);

    if !captured(destination) || is_listener(destination, &listener) {
        storage::delete(&CLI, sk);
        return Verdict::Proceed;
    }
    let token = storage::read(&TOKEN, sk);
    if token == Some(TOKEN_UPSTREAM) || (token == Some(TOKEN_OWN) && alive(ctx, &listener)) {
        storage::delete(&CLI, sk);
        count(Counter::Exempted);
        return Verdict::Proceed;
    }

    let origin = origin(destination, netns);
    match redirect(ctx, &origin, &listener) {
        Ok(to) => {
            if storage::write(&CLI, sk, &origin) {
                count(Counter::Redirected);
                return Verdict::Redirect(to);
            }
            refused(&origin, Cause::Memory);
        }
        Err(cause) => refused(&origin, cause),
    }
    storage::delete(&CLI, sk);
    Verdict::Refuse
}

/// Whether connects to `destination` are policyd's business.
#[inline(always)]
fn captured(destination: &Destination) -> bool {
    if SETTINGS.get(0).is_some_and(|settings| settings.all_ports != 0) {
        return true;
    }
    CAPTURED_PORTS.get_ptr(destination.port).is_some()
}

/// Where to send a captured connect.
#[inline(always)]
fn redirect(ctx: &SockAddrContext, origin: &Origin, listener: &Listener) -> Result<Destination, Cause> {
    if listener.port4 == 0 && listener.port6 == 0 {
        return Err(Cause::Namespace);
    }
    let (address, port, alive) = if is_v4(&origin.address) {
        (mapped(LOOPBACK4), listener.port4, listener.port4 != 0 && alive4(ctx.as_ptr(), listener.port4))
    } else {
        ([0, 0, 0, LOOPBACK6], listener.port6, listener.port6 != 0 && alive6(ctx.as_ptr(), listener.port6))
    };
    if port == 0 {
        return Err(Cause::Family);
    }
    if alive { Ok(Destination { address, port }) } else { Err(Cause::Listener) }
}

/// Whether any of policyd's listeners lives.
#[inline(always)]
fn alive(ctx: &SockAddrContext, listener: &Listener) -> bool {
    listener.port4 != 0 && alive4(ctx.as_ptr(), listener.port4)
}

/// Whether the connect is aimed at policyd's listener itself: it must not be redirected into itself. It arrives without
/// an origin, and the daemon closes it.
#[inline(always)]
fn is_listener(destination: &Destination, listener: &Listener) -> bool {
    if is_v4(&destination.address) {
        let address = destination.address[3];
        return destination.port == listener.port4 && (address == LOOPBACK4 || address == 0);
    }
    // `::` means the loopback of whichever family the kernel chooses.
    if unspecified_or_loopback(&destination.address) {
        return destination.port == listener.port6;
    }
    false
}

#[inline(always)]
fn unspecified_or_loopback(address: &Address) -> bool {
    address[0] == 0 && address[1] == 0 && address[2] == 0 && (address[3] == 0 || address[3] == LOOPBACK6)
}

#[inline(always)]
fn origin(destination: &Destination, netns: u64) -> Origin {
    // SAFETY: these helpers take nothing and always succeed in a process's context.
    let (tgid, uid, cgroup, time) = unsafe {
        (
            bpf_get_current_pid_tgid() >> 32,
            bpf_get_current_uid_gid(),
            bpf_get_current_cgroup_id(),
            bpf_ktime_get_boot_ns(),
        )
    };
    Origin {
        address: destination.address,
        port: destination.port,
        _pad: [0; 2],
        tgid: tgid as u32,
        uid: uid as u32,
        _pad2: [0; 4],
        cgroup,
        netns,
        time,
    }
}
