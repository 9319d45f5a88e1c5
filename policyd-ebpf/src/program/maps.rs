//! The maps. Their names are the contract with the daemon.

use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::macros::btf_map;
use policyd_ebpf::{COUNTERS, Listener, Origin, Refused, Settings, Tuple};

/// policyd's listeners by network namespace cookie.
#[btf_map]
pub static LISTENERS: HashMap<u64, Listener, 4096> = HashMap::new();

/// The captured ports, host byte order. The value means nothing.
#[btf_map]
pub static CAPTURED_PORTS: HashMap<u16, u8, 65536, NO_PREALLOC> = HashMap::new();

/// One element: the settings.
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// Sockets that may connect wherever they want (`TOKEN_UPSTREAM`, `TOKEN_OWN`).
#[btf_map]
pub static TOKEN: SkStorage<u32> = SkStorage::new();

/// policyd's listeners (`TOKEN_LISTENER`), so that nobody who takes their port is mistaken for them.
#[btf_map]
pub static LISTENER_TOKEN: SkStorage<u32> = SkStorage::new();

/// On the connecting socket: what it asked for, while it is redirected.
#[btf_map]
pub static CLI: SkStorage<Origin> = SkStorage::new();

/// From the connecting socket to the accepted one. LRU, so that what is never accepted cannot fill it.
#[btf_map]
pub static TUPLE: LruHashMap<Tuple, Origin, 65536> = LruHashMap::new();

/// On the accepted socket: what the connecting one asked for. The daemon reads it.
#[btf_map]
pub static SRV: SkStorage<Origin> = SkStorage::new();

/// See `policyd_ebpf::Counter`.
#[btf_map]
pub static COUNTS: PerCpuArray<u64, { COUNTERS as usize }> = PerCpuArray::new();

/// Refused connects, for the log.
#[btf_map]
pub static EVENTS: RingBuf<Refused, 262_144> = RingBuf::new();

/// Port sets are small mostly: memory as needed.
const NO_PREALLOC: usize = aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize;
