//! A place for one test: two network namespaces joined by a veth pair, made anew and gone when it is dropped.
//!
//! ```text
//!   agents' namespace (own mounts)                  servers' namespace
//!   policyd, the agents           10.77.0.1 ─────── 10.77.0.10 … one address per host, and fd77::10 …
//! ```
//!
//! In the agents' namespace `/etc/hosts`, `/etc/resolv.conf` and the system's certificate bundle are the world's own
//! (bind mounts in a mount namespace, as `ip netns exec` does it), and so is `/sys/fs/bpf`: pins vanish with the world.
//! The namespaces are held by two children that read from a pipe of ours, so they end even when this process is killed.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::process::Running;

/// The agents' side of the veth pair.
pub const AGENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A place for one test.
pub struct World {
    agents: Running,
    servers: Running,
    directory: TempDir,
    cgroup: PathBuf,
    /// The authority that the world's system trust store trusts, beside the real system roots.
    pub authority: Authority,
    /// An authority that nothing trusts by itself.
    pub stranger: Authority,
}

/// One host of the servers' namespace.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Its name in the agents' `/etc/hosts`.
    pub name: &'static str,
    /// The last byte of its addresses, 10.77.0.N and fd77::N (hexadecimal digits of the decimal number).
    pub number: u8,
}

impl Host {
    /// A host.
    pub const fn new(name: &'static str, number: u8) -> Self {
        Self { name, number }
    }

    /// Its IPv4 address.
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    /// Its IPv6 address.
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(self.number))
    }
}

/// The hosts that every world has. `two-homed.example` has a dead address (nobody has it) besides its own.
pub mod hosts {
    use super::Host;

    /// PromptFax's host.
    pub const PROMPTFAX: Host = Host::new("promptfax.app", 10);
    /// ContextLayer's host.
    pub const CONTEXTLAYER: Host = Host::new("api.dotnova.io", 11);
    /// Waysway's host.
    pub const WAYSWAY: Host = Host::new("api.waysway.com", 12);
    /// Axint is a package without a host of its own: a name under a reserved domain.
    pub const AXINT: Host = Host::new("axint.example", 13);
    /// Looking Glass is a package too.
    pub const LOOKING_GLASS: Host = Host::new("looking-glass.example", 14);
    /// A server with tools for tests: slow, streaming, large.
    pub const WORKBENCH: Host = Host::new("workbench.example", 15);
    /// An ordinary web site that no policy names.
    pub const SITE: Host = Host::new("www.site.example", 20);
    /// A second name at the workbench's address: what domain fronting would use.
    pub const FRONT: Host = Host::new("front.example", 15);
    /// A host with a dead address first and a live one after it.
    pub const TWO_HOMED: Host = Host::new("two-homed.example", 30);
    /// The address that nobody answers at (a route to it exists, a neighbour does not).
    pub const DEAD: Host = Host::new("two-homed.example", 29);

    pub(super) const ALL: [Host; 10] =
        [PROMPTFAX, CONTEXTLAYER, WAYSWAY, AXINT, LOOKING_GLASS, WORKBENCH, SITE, FRONT, DEAD, TWO_HOMED];
}

/// Where the cgroup2 hierarchy is mounted; on hybrid hosts `/sys/fs/cgroup/unified`.
pub fn cgroup2_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let mount = mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4))?
    });
    PathBuf::from(mount.expect("a cgroup2 mount; on Debian: mount -t cgroup2 none /sys/fs/cgroup/unified"))
}

fn checked(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn holder(arguments: &[&str], setup: &str) -> Running {
    let mut command = Command::new("unshare");
    command.args(arguments).args(["sh", "-euc", &format!("{setup}\nip link set lo up\necho ready\nexec cat")]);
    let mut running = Running::start(command);
    running.line("ready", 0, |line| line == "ready");
    running
}

impl World {
    /// Makes the namespaces, the links, the names and the trust store.
    ///
    /// # Panics
    /// When it cannot, saying which step failed: it needs root and the packages of `cargo xtask setup`.
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "namespaces and eBPF need root: run the tests as root");
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("policyd-test-").tempdir().expect("a temporary folder");
        make_readable(directory.path());
        let authority = Authority::new("policyd test root");
        let stranger = Authority::new("policyd test stranger");
        let file = |name: &str, text: &str| {
            fs::write(directory.path().join(name), text).expect("a file in a folder of ours");
        };
        file("hosts", &hosts_file());
        file("resolv.conf", "nameserver 10.77.0.53\noptions timeout:1 attempts:1\n");
        file("test-root.pem", authority.pem());
        file("stranger.pem", stranger.pem());
        let system = fs::read_to_string(SYSTEM_BUNDLE).expect("Debian's ca-certificates");
        file("system.pem", &format!("{system}\n{}", authority.pem()));

        let servers = holder(&["--net"], "");
        let at = directory.path().display();
        let agents = holder(
            &["--net", "--mount", "--propagation", "private"],
            &format!(
                "mount --bind {at}/hosts /etc/hosts\n\
                 mount --bind {at}/resolv.conf /etc/resolv.conf\n\
                 mount --bind {at}/system.pem {SYSTEM_BUNDLE}\n\
                 mount -t bpf bpf /sys/fs/bpf"
            ),
        );
        let cgroup = cgroup2_mount().join(format!(
            "policyd-test-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&cgroup).expect("a cgroup below the cgroup2 mount");
        let world = Self { agents, servers, directory, cgroup, authority, stranger };
        world.join_namespaces();
        world
    }

    fn join_namespaces(&self) {
        let peer = self.servers.pid().to_string();
        let ip = |line: &str| {
            let mut command = self.inside();
            command.arg("ip").args(line.split(' '));
            checked(command);
        };
        ip(&format!("link add to-servers type veth peer name to-agents netns {peer}"));
        ip(&format!("address add {AGENTS}/16 dev to-servers"));
        ip("address add fd77::1/64 dev to-servers nodad");
        ip("link set to-servers up");
        let mut lines = String::new();
        let mut numbers = hosts::ALL.map(|host| host.number).to_vec();
        numbers.push(53);
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers.into_iter().filter(|number| *number != hosts::DEAD.number) {
            let host = Host::new("", number);
            lines += &format!("address add {}/16 dev to-agents\n", host.v4());
            lines += &format!("address add {}/64 dev to-agents nodad\n", host.v6());
        }
        lines += "link set to-agents up\n";
        let batch = self.path("addresses");
        fs::write(&batch, lines).expect("a file in a folder of ours");
        let mut command = self.beside();
        command.args(["ip", "-batch"]).arg(batch);
        checked(command);
    }

    /// A path in the world's own folder, removed with it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file into the world's folder and gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder of ours")).expect("a folder in a folder of ours");
        fs::write(&path, content).expect("a file in a folder of ours");
        path
    }

    /// A command that runs what is appended to it in the agents' namespace, in no cgroup of the world's.
    pub fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.agents.pid().to_string(), "--net", "--mount", "--"]);
        command
    }

    /// A command that runs what is appended to it in the servers' namespace.
    pub fn beside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.servers.pid().to_string(), "--net", "--"]);
        command
    }

    /// A command that runs what is appended to it in the agents' namespace and in the agent cgroup `agent`.
    ///
    /// It trusts the world's authority as an ordinary program on that host would: Node by `NODE_EXTRA_CA_CERTS`, the
    /// others by the system's bundle.
    pub fn agent(&self, agent: &str) -> Command {
        let cgroup = self.cgroup.join(agent);
        fs::create_dir_all(&cgroup).expect("a cgroup below one of ours");
        let mut command = self.inside();
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", cgroup.display());
        command.args(["sh", "-euc", &enter, "agent"]);
        command.env("SSL_CERT_FILE", SYSTEM_BUNDLE).env("NODE_EXTRA_CA_CERTS", self.path("test-root.pem"));
        command
    }

    /// The world's cgroup as a configuration names it: the path below the cgroup2 mount.
    pub fn cgroup(&self) -> String {
        let name = self.cgroup.file_name().expect("a name of ours").to_string_lossy();
        format!("/{name}")
    }

    /// The cgroup of the agent `agent` as a configuration names it.
    pub fn agent_cgroup(&self, agent: &str) -> String {
        format!("{}/{agent}", self.cgroup())
    }

    /// Runs `work` on a thread that stands in the servers' namespace.
    pub fn on_servers_side<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        on_side(self.servers.pid(), work)
    }

    /// Runs `work` on a thread that stands in the agents' network namespace, in the test's own mounts and cgroup.
    pub fn on_agents_side<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        on_side(self.agents.pid(), work)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn on_side<T: Send + 'static>(pid: u32, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("a namespace of ours");
    std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("a namespace of ours");
        work()
    })
}

/// Agents that run as other users must reach what lies in the world's folder.
fn make_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a folder of ours");
}

fn hosts_file() -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for host in hosts::ALL {
        text += &format!("{} {}\n", IpAddr::from(host.v4()), host.name);
    }
    text
}

impl Drop for World {
    fn drop(&mut self) {
        // What still runs in the cgroups was started by this test: it ends with it.
        fs::write(self.cgroup.join("cgroup.kill"), "1").ok();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while remove_cgroup(&self.cgroup).is_err() && std::time::Instant::now() < end {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }
}

fn remove_cgroup(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
