//! The programs and maps in the kernel.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf, SkStorage};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use policyd_ebpf::{COUNTERS, Settings, TOKEN_LISTENER};

use super::listener::Listeners;
use super::sys::Hook;
use super::{Counters, Error};

/// The compiled programs; `cargo xtask ebpf` makes them from `policyd-ebpf/src`.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../policyd-ebpf/prebuilt/policyd.bpf.o");

/// Every program with the hook that it is for, in the order in which they are put in force. Connects come last: until
/// then they are left to the programs of an earlier run, which refuse them because its listener is gone. Were they
/// first, a connect between the two would reach policyd and be closed for want of an origin.
pub(super) const PROGRAMS: [(Hook, &str); 9] = [
    (Hook::SockOps, "tcp_event"),
    (Hook::SockCreate, "sock_create"),
    (Hook::GetPeerName4, "getpeername4"),
    (Hook::GetPeerName6, "getpeername6"),
    (Hook::SendMsg4, "sendmsg4"),
    (Hook::SendMsg6, "sendmsg6"),
    (Hook::Egress, "egress"),
    (Hook::Connect4, "connect4"),
    (Hook::Connect6, "connect6"),
];

/// Maps that are pinned for people to look into. Not `TOKEN` and `LISTENER_TOKEN`: whoever opens those can exempt
/// sockets.
pub(super) const PINNED_MAPS: [&str; 4] = ["LISTENERS", "CAPTURED_PORTS", "COUNTS", "TUPLE"];

/// Loaded programs and their maps.
pub(super) struct Kernel {
    ebpf: Ebpf,
    ports: Mutex<HashMap<MapData, u16, u8>>,
    settings: Mutex<Array<MapData, Settings>>,
    counts: PerCpuArray<MapData, u64>,
    events: Mutex<Option<RingBuf<MapData>>>,
    token: MapData,
    srv: MapData,
    pinned: Vec<(&'static str, MapData)>,
}

impl Kernel {
    /// Loads everything. Nothing is attached.
    pub fn load() -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(|error| Error::load("policyd's maps", error))?;
        for (_, name) in PROGRAMS {
            let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
            match program {
                Program::CgroupSockAddr(program) => program.load(),
                Program::SockOps(program) => program.load(),
                Program::CgroupSkb(program) => program.load(),
                Program::CgroupSock(program) => program.load(),
                _ => return Err(missing(name)),
            }
            .map_err(|error| Error::load(format!("the program `{name}`"), error))?;
        }
        let mut pinned = Vec::new();
        for name in PINNED_MAPS {
            let map = data(ebpf.map(name).ok_or_else(|| missing(name))?).ok_or_else(|| missing(name))?;
            pinned.push((name, reopen(name, map)?));
        }
        Ok(Self {
            ports: Mutex::new(take(&mut ebpf, "CAPTURED_PORTS")?),
            settings: Mutex::new(take(&mut ebpf, "SETTINGS")?),
            counts: take(&mut ebpf, "COUNTS")?,
            events: Mutex::new(Some(take(&mut ebpf, "EVENTS")?)),
            token: take_data(&mut ebpf, "TOKEN")?,
            srv: take_data(&mut ebpf, "SRV")?,
            pinned,
            ebpf,
        })
    }

    /// Tells the programs about the listeners and marks these as policyd's own.
    pub fn set_listeners(&mut self, listeners: &Listeners) -> Result<(), Error> {
        let mut tokens: SkStorage<_, u32> = take(&mut self.ebpf, "LISTENER_TOKEN")?;
        for listener in listeners.fds() {
            use std::os::fd::AsRawFd as _;
            tokens
                .insert(&listener.as_raw_fd(), TOKEN_LISTENER, 0)
                .map_err(|error| Error::load("the listener's token", error))?;
        }
        let mut map: HashMap<_, u64, policyd_ebpf::Listener> = take(&mut self.ebpf, "LISTENERS")?;
        let ports = listeners.ports().map_err(|error| Error::system("read the listeners' addresses", error))?;
        map.insert(listeners.netns, ports, 0).map_err(|error| Error::load("the listeners' ports", error))
    }

    /// Replaces the captured ports. New ones are added before old ones go.
    pub fn set_ports(&self, ports: &std::collections::BTreeSet<u16>, settings: Settings) -> Result<(), Error> {
        let failed = |error| Error::load("the captured ports", error);
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).set(0, settings, 0).map_err(failed)?;
        let mut map = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        for port in ports {
            map.insert(port, 1, 0).map_err(failed)?;
        }
        let old: Vec<u16> = map.keys().filter_map(Result::ok).filter(|port| !ports.contains(port)).collect();
        for port in old {
            map.remove(&port).map_err(failed)?;
        }
        Ok(())
    }

    /// The program `name`.
    pub fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let program = self.ebpf.program(name).ok_or_else(|| missing(name))?;
        Ok(program.fd().map_err(|error| Error::load(format!("the program `{name}`"), error))?.as_fd())
    }

    /// The maps to pin.
    pub fn pinned_maps(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.pinned.iter().map(|(name, map)| (*name, map.fd().as_fd()))
    }

    /// The map of exempt sockets.
    pub fn token(&self) -> BorrowedFd<'_> {
        self.token.fd().as_fd()
    }

    /// The map of accepted sockets' origins.
    pub fn srv(&self) -> BorrowedFd<'_> {
        self.srv.fd().as_fd()
    }

    /// The ring of refused connects, once.
    pub fn take_events(&self) -> Option<RingBuf<MapData>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The counters, summed over the processors.
    pub fn counters(&self) -> Result<Counters, Error> {
        let mut counters = Counters::default();
        for index in 0..COUNTERS {
            let values = self.counts.get(&index, 0).map_err(|error| Error::load("the counters", error))?;
            counters.set(index as usize, values.iter().sum());
        }
        Ok(counters)
    }
}

fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &str) -> Result<T, Error>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    T::try_from(map).map_err(|error| Error::load(format!("the map `{name}`"), error))
}

fn take_data(ebpf: &mut Ebpf, name: &str) -> Result<MapData, Error> {
    match ebpf.take_map(name) {
        Some(Map::SkStorage(data)) => Ok(data),
        _ => Err(missing(name)),
    }
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::HashMap(data) | Map::LruHashMap(data) | Map::PerCpuArray(data) => Some(data),
        _ => None,
    }
}

/// The same map under a descriptor of its own, so that both the accessor and the pin have one.
fn reopen(name: &str, map: &MapData) -> Result<MapData, Error> {
    let fd = map.fd().as_fd().try_clone_to_owned().map_err(|error| Error::system("duplicate a descriptor", error))?;
    MapData::from_fd(fd).map_err(|error| Error::load(format!("the map `{name}`"), error))
}

/// The embedded object is not the one that this daemon was written for; the build is broken.
fn missing(name: &str) -> Error {
    Error::load(format!("`{name}`"), std::io::Error::other("it is not in the embedded object: run `cargo xtask ebpf`"))
}
