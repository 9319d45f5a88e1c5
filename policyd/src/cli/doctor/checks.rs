//! The checks: what is looked at, and what is made of it.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::statfs::{FsType, statfs};
use rustls_native_certs::CertificateResult;

use super::{Check, Status};
use crate::capture::Cgroup2;
use crate::cli::exit;
use crate::daemon;

/// Network namespace cookies in sockops programs (commit 6cf1770d63dd, Linux 5.15).
const KERNEL: (u32, u32) = (5, 15);

/// linux/magic.h
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// linux/capability.h: what policyd cannot do without, and what for.
const CAPABILITIES: [(u32, &str); 5] =
    [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE"), (0, "CAP_CHOWN")];

/// 2026-01-01: policyd is not older, so a clock before it is wrong and no certificate would be valid.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Everything but the canary.
pub(super) fn host() -> Vec<Check> {
    let read = |path: &str| std::fs::read_to_string(path);
    vec![
        kernel(&read("/proc/sys/kernel/osrelease").unwrap_or_default()),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists()),
        cgroup2(),
        bpffs(statfs("/sys/fs/bpf").map(|fs| fs.filesystem_type())),
        capabilities(&read("/proc/self/status").unwrap_or_default()),
        trust_store(&rustls_native_certs::load_native_certs()),
        clock(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        ipv6(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).map(drop)),
        metrics_port(TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))).map(drop)),
    ]
}

/// A connection through the real programs; not tried where it cannot work.
pub(super) fn canary(before: &[Check]) -> Check {
    let name = "canary";
    if let Some(lack) = before.iter().find(|check| matches!(check.status, Status::Missing | Status::Denied)) {
        let found = format!("not tried, since `{}` would make it fail", lack.name);
        return Check { name, status: lack.status, found, fix: Some("mend that first".to_owned()) };
    }
    match daemon::canary() {
        Ok(()) => ok(name, "a connection was intercepted by the real kernel programs"),
        Err(error) => {
            let denied = error.exit_code() == exit::NOT_PERMITTED;
            let (status, fix) = if denied {
                (Status::Denied, "run this as root")
            } else {
                (Status::Missing, "look for other programs that take connections away, such as a service mesh")
            };
            not_ok(name, status, error.to_string(), fix)
        }
    }
}

pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, status: Status::Ok, found: found.into(), fix: None }
}

pub(super) fn not_ok(name: &'static str, status: Status, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, status, found: found.into(), fix: Some(fix.into()) }
}

fn kernel(release: &str) -> Check {
    let release = release.trim();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or_default());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let (major, minor) = KERNEL;
    if version >= KERNEL {
        ok("kernel", format!("Linux {release}"))
    } else {
        let found = format!("Linux {release} is older than {major}.{minor}");
        not_ok("kernel", Status::Missing, found, format!("boot Linux {major}.{minor} or newer"))
    }
}

fn btf(there: bool) -> Check {
    if there {
        return ok("btf", "the kernel describes its types");
    }
    let fix = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (all current distributions' have it)";
    not_ok("btf", Status::Missing, "/sys/kernel/btf/vmlinux is missing", fix)
}

fn cgroup2() -> Check {
    match Cgroup2::find() {
        Ok(cgroups) => ok("cgroup2", format!("mounted at {}", cgroups.mount().display())),
        Err(error) => {
            let fix = "mount -t cgroup2 none /sys/fs/cgroup/unified (or boot with systemd.unified_cgroup_hierarchy=1)";
            not_ok("cgroup2", Status::Missing, error.to_string(), fix)
        }
    }
}

fn bpffs(kind: nix::Result<FsType>) -> Check {
    let fix = "mount -t bpf bpf /sys/fs/bpf";
    match kind {
        Ok(kind) if kind.0 == BPF_FS_MAGIC => ok("bpffs", "mounted at /sys/fs/bpf"),
        Ok(_) => not_ok("bpffs", Status::Missing, "/sys/fs/bpf is not a bpf file system", fix),
        Err(nix::Error::EACCES | nix::Error::EPERM) => {
            not_ok("bpffs", Status::Denied, "/sys/fs/bpf cannot be looked at", "run this as root")
        }
        Err(errno) => not_ok("bpffs", Status::Missing, format!("/sys/fs/bpf: {}", errno.desc()), fix),
    }
}

fn capabilities(status: &str) -> Check {
    let name = "capabilities";
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return not_ok(name, Status::Missing, "/proc/self/status does not tell them", "mount /proc");
    };
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| held & (1 << bit) == 0).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return ok(name, CAPABILITIES.map(|(_, name)| name).join(", "));
    }
    let found = format!("{} missing", missing.join(", "));
    not_ok(name, Status::Denied, found, "run this as root, or give the service these capabilities")
}

fn trust_store(roots: &CertificateResult) -> Check {
    let fix = "install the distribution's roots: apt-get install ca-certificates";
    match (roots.certs.len(), roots.errors.first()) {
        (0, None) => {
            not_ok("trust store", Status::Missing, "the system trusts no root: every upstream is refused", fix)
        }
        (0, Some(error)) => not_ok("trust store", Status::Missing, format!("no root can be read: {error}"), fix),
        (count, None) => ok("trust store", format!("{count} roots")),
        (count, Some(error)) => {
            let fix = "mend or remove that file, or unset SSL_CERT_FILE and SSL_CERT_DIR if they name it";
            not_ok("trust store", Status::Warning, format!("{count} roots, but {error}"), fix)
        }
    }
}

fn clock(now: Duration) -> Check {
    if now >= EPOCH {
        return ok("clock", "plausible");
    }
    let found = "the clock is years behind: no certificate would be valid";
    not_ok("clock", Status::Missing, found, "set it: timedatectl set-ntp true")
}

fn ipv6(bound: io::Result<()>) -> Check {
    match bound {
        Ok(()) => ok("ipv6", "the loopback address can be listened on"),
        Err(error) => {
            let fix = "agents' IPv6 connections are refused; enable it: sysctl net.ipv6.conf.lo.disable_ipv6=0";
            not_ok("ipv6", Status::Warning, format!("[::1] cannot be listened on: {error}"), fix)
        }
    }
}

fn metrics_port(bound: io::Result<()>) -> Check {
    match bound {
        Ok(()) => ok("metrics port", "127.0.0.1:9464 is free"),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let fix = "if that is not policyd itself, set `admin.listen` in its configuration";
            not_ok("metrics port", Status::Warning, "127.0.0.1:9464 is in use", fix)
        }
        Err(error) => {
            let fix = "set `admin.listen` in the configuration";
            not_ok("metrics port", Status::Warning, format!("127.0.0.1:9464 cannot be listened on: {error}"), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, status) in [
            ("6.18.44-fc-v657\n", Status::Ok),
            ("5.15.0-1063-aws", Status::Ok),
            ("10.0", Status::Ok),
            ("5.4.0", Status::Missing),
            ("5.9.16", Status::Missing),
            ("", Status::Missing),
        ] {
            assert_eq!(kernel(release).status, status, "{release}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n").status, Status::Ok);
        let check = capabilities("CapEff:\t0000000000001000\n");
        assert_eq!(
            (check.status, check.found.as_str()),
            (Status::Denied, "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_CHOWN missing")
        );
        assert_eq!(capabilities("").status, Status::Missing);
    }

    #[test]
    fn a_trust_store_without_roots_is_none() {
        let mut roots = CertificateResult::default();
        assert_eq!(trust_store(&roots).status, Status::Missing);
        roots.certs = vec![vec![1].into(), vec![2].into()];
        assert_eq!(trust_store(&roots).found, "2 roots");
    }

    #[test]
    fn a_used_port_and_no_ipv6_are_only_warnings() {
        assert_eq!(metrics_port(Err(ErrorKind::AddrInUse.into())).status, Status::Warning);
        assert_eq!(ipv6(Err(ErrorKind::AddrNotAvailable.into())).status, Status::Warning);
    }

    #[test]
    fn a_clock_at_the_epoch_is_wrong() {
        assert_eq!(clock(Duration::ZERO).status, Status::Missing);
        assert_eq!(clock(EPOCH).status, Status::Ok);
    }

    #[test]
    fn a_folder_that_is_no_bpffs_is_missing_and_one_out_of_sight_is_denied() {
        assert_eq!(bpffs(Err(nix::Error::ENOENT)).status, Status::Missing);
        assert_eq!(bpffs(Err(nix::Error::EACCES)).status, Status::Denied);
        assert_eq!(bpffs(statfs("/proc").map(|fs| fs.filesystem_type())).status, Status::Missing);
    }
}
