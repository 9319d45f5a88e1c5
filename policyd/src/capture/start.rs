//! Starting capture: load, fill, attach, pin.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use policyd_ebpf::Settings;

use super::cgroup::outermost;
use super::instance::{Instance, end_link, entries, unlink};
use super::kernel::{Kernel, PROGRAMS};
use super::listener::Listeners;
use super::sys::{self, Hook};
use super::{Acceptor, Cgroup2, Counters, Error, Events, Handle};

/// What to capture.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the pins below `/sys/fs/bpf/policyd/`: letters, digits, `-`, `_`. `exec-PID` for `policyd exec`.
    pub instance: String,
    /// The agents' cgroups: paths below the cgroup2 mount, beginning with `/`. `/` is everyone.
    pub cgroups: Vec<String>,
    /// The captured TCP ports; UDP data to them is dropped.
    pub ports: BTreeSet<u16>,
    /// Capture TCP to every port (`capture.other = "refuse"`).
    pub all_ports: bool,
    /// What becomes of the pins when [`Capture`] is dropped.
    pub pins: Pins,
}

/// What becomes of the pins when [`Capture`] is dropped. When the process is killed they stay in any case, and agents'
/// connects are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pins {
    /// They stay: connects are refused until the next start, or until [`detach`](super::detach). For the daemon.
    Keep,
    /// They go: connects are let out. For `policyd exec`, when its command has ended.
    UntilDrop,
}

/// Running capture. Dropping it closes its listeners; [`Pins`] says what agents meet then.
pub struct Capture {
    /// What the handles share with it.
    shared: Arc<Shared>,
    listeners: Listeners,
    agents: Vec<String>,
    canary_port: u16,
    cgroup2: Cgroup2,
    instance: Instance,
    keep_pins: AtomicBool,
}

/// The kernel's side, for as long as anybody uses it.
pub(super) struct Shared {
    pub kernel: Kernel,
    pub dialled: std::sync::atomic::AtomicU64,
}

impl Capture {
    /// Loads the programs, opens the listeners, and attaches to the agents' cgroups and policyd's own. Over the pins
    /// of an earlier run it takes their links over: no connect is let out at any instant.
    ///
    /// # Errors
    ///
    /// [`Error::exit_code`] maps them. Connects are refused where links were pinned or taken over by then.
    pub fn start(options: Options) -> Result<Self, Error> {
        let cgroup2 = Cgroup2::find()?;
        let agents = outermost(options.cgroups.iter().map(String::as_str));
        let plan = plan(&cgroup2, &agents)?;
        let instance = Instance::lock(&options.instance)?;
        let listeners = Listeners::open().map_err(|error| Error::system("listen on the loopback addresses", error))?;
        let mut kernel = Kernel::load()?;
        kernel.set_listeners(&listeners)?;
        kernel.set_ports(&options.ports, settings(options.all_ports))?;
        let shared = Arc::new(Shared { kernel, dialled: Default::default() });
        // From here on a failure must clean up as `pins` says.
        let capture = Self {
            shared,
            listeners,
            agents,
            canary_port: options.ports.first().copied().unwrap_or(443),
            cgroup2,
            instance,
            keep_pins: AtomicBool::new(options.pins == Pins::Keep),
        };
        capture.attach(&plan)?;
        capture.pin_maps()?;
        Ok(capture)
    }

    /// Looks origins up, exempts upstream sockets.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// The redirected connections. Call it once, on a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// That the listeners cannot be registered with the runtime.
    pub fn acceptor(&self) -> Result<Acceptor, Error> {
        let failed = |error| Error::system("watch the listeners", error);
        let listeners = self.listeners.try_clone().map_err(failed)?;
        let canary =
            super::canary::Place { cgroup2: self.cgroup2.clone(), agents: self.agents.clone(), port: self.canary_port };
        Acceptor::new(self.handle(), listeners, canary).map_err(failed)
    }

    /// The refused connects. Gives them once, on a tokio runtime with I/O enabled; `None` afterwards.
    ///
    /// # Errors
    ///
    /// That the ring buffer cannot be registered with the runtime.
    pub fn events(&self) -> Result<Option<Events>, Error> {
        let Some(ring) = self.shared.kernel.take_events() else { return Ok(None) };
        Events::new(ring).map(Some).map_err(|error| Error::system("watch the kernel's events", error))
    }

    /// The counters now.
    ///
    /// # Errors
    ///
    /// That the kernel refuses to read the map.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.shared.kernel.counters()
    }

    /// Where policyd listens: the port on 127.0.0.1 and, where the host has IPv6, on ::1.
    ///
    /// # Errors
    ///
    /// That the kernel does not tell.
    pub fn listening(&self) -> Result<Vec<SocketAddr>, Error> {
        self.listeners.addresses().map_err(|error| Error::system("read the listeners' addresses", error))
    }

    /// Captures these ports from now on, in place of those before (a reload).
    ///
    /// # Errors
    ///
    /// That the kernel refuses to change the map.
    pub fn set_ports(&self, ports: &BTreeSet<u16>, all_ports: bool) -> Result<(), Error> {
        self.shared.kernel.set_ports(ports, settings(all_ports))
    }

    /// Captures these cgroups from now on, in place of those before (a reload). With the same ones it attaches to those
    /// that were removed and made again since, as systemd does when a unit restarts: until then what runs in them is
    /// not captured, so name a slice that stays rather than a unit that comes and goes.
    ///
    /// # Errors
    ///
    /// That a cgroup does not exist (nothing has changed then), or that the kernel refuses.
    pub fn set_cgroups(&self, cgroups: &[String]) -> Result<(), Error> {
        self.attach(&plan(&self.cgroup2, &outermost(cgroups.iter().map(String::as_str)))?)
    }

    /// Says anew what becomes of the pins when this is dropped.
    pub fn set_pins(&self, pins: Pins) {
        self.keep_pins.store(pins == Pins::Keep, Ordering::Relaxed);
    }

    /// Ends capture: removes the pins, so that connects are let out again.
    ///
    /// # Errors
    ///
    /// That a pin cannot be removed.
    pub fn detach(self) -> Result<(), Error> {
        self.set_pins(Pins::Keep);
        self.instance.remove()
    }

    /// Puts the programs in force and removes links of earlier runs that the plan does not have.
    fn attach(&self, plan: &[Attachment]) -> Result<(), Error> {
        let links = self.instance.links();
        let mut kept = BTreeSet::new();
        for attachment in plan {
            let pin = links.join(&attachment.pin);
            let program = self.shared.kernel.program(attachment.program)?;
            let failed = |error| {
                Error::system(format!("attach `{}` to {}", attachment.program, attachment.directory.display()), error)
            };
            if pin.exists() {
                let link = sys::open_pinned(&pin).map_err(failed)?;
                sys::link_update(link.as_fd(), program).map_err(failed)?;
            } else {
                let cgroup: OwnedFd = File::open(&attachment.directory).map_err(failed)?.into();
                let link = sys::link_create(program, cgroup.as_fd(), attachment.hook).map_err(failed)?;
                sys::pin(link.as_fd(), &pin).map_err(failed)?;
            }
            kept.insert(attachment.pin.as_str());
        }
        for name in entries(&links)? {
            if !kept.contains(name.as_str()) {
                end_link(&links.join(name))?;
            }
        }
        Ok(())
    }

    fn pin_maps(&self) -> Result<(), Error> {
        for (name, map) in self.shared.kernel.pinned_maps() {
            let pin = self.instance.maps().join(name);
            unlink(&pin)?;
            sys::pin(map, &pin).map_err(|error| Error::system(format!("pin {}", pin.display()), error))?;
        }
        Ok(())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if !self.keep_pins.load(Ordering::Relaxed)
            && let Err(error) = self.instance.remove()
        {
            tracing::warn!(%error, "the kernel programs stay attached");
        }
    }
}

/// One program at one cgroup.
struct Attachment {
    hook: Hook,
    program: &'static str,
    directory: PathBuf,
    /// The pin's name: the hook and the cgroup's id, which the kernel never gives twice.
    pin: String,
}

/// What to attach where, in order: see [`PROGRAMS`].
fn plan(cgroup2: &Cgroup2, agents: &[String]) -> Result<Vec<Attachment>, Error> {
    let own = cgroup2.own()?;
    let everyone = outermost(agents.iter().map(String::as_str).chain([own.as_str()]));
    let own = [own];
    let mut plan = Vec::new();
    for (hook, program) in PROGRAMS {
        let cgroups = match hook {
            Hook::SockOps => &everyone[..],
            Hook::SockCreate => &own,
            _ => agents,
        };
        for cgroup in cgroups {
            let directory = cgroup2.directory(cgroup)?;
            let id = directory
                .metadata()
                .map_err(|error| Error::system(format!("look at {}", directory.display()), error))?
                .ino();
            plan.push(Attachment { hook, program, directory, pin: format!("{program}-{id}") });
        }
    }
    Ok(plan)
}

fn settings(all_ports: bool) -> Settings {
    Settings { daemon: std::process::id(), all_ports: u32::from(all_ports) }
}
