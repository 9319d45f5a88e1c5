//! `sock_create`, on policyd's own cgroup: its sockets are its own (name lookups, telemetry), or capturing `/` would
//! have policyd wait for itself.

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use policyd_ebpf::TOKEN_OWN;

use super::maps::{SETTINGS, TOKEN};
use super::storage;

/// A socket is made.
#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    // SAFETY: the helper takes nothing.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if SETTINGS.get(0).is_some_and(|settings| settings.daemon == tgid) {
        // Without memory for it the socket is captured like any other: closed, not open.
        let _ = storage::write(&TOKEN, ctx.sock, &TOKEN_OWN);
    }
    1
}
