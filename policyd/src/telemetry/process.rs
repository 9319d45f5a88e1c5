//! What the process itself uses, under the names that every Prometheus client gives these facts.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Error, IntGauge, Registry};

/// Registers the collector.
pub(super) fn register(registry: &Registry) -> Result<(), Error> {
    registry.register(Box::new(Process {
        resident: IntGauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
        files: IntGauge::new("process_open_fds", "Number of open file descriptors.")?,
        threads: IntGauge::new("process_threads", "Number of threads.")?,
        cpu: cpu_counter()?,
    }))
}

fn cpu_counter() -> Result<Counter, Error> {
    Counter::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")
}

struct Process {
    resident: IntGauge,
    files: IntGauge,
    threads: IntGauge,
    cpu: Counter,
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let mut descs = self.resident.desc();
        descs.extend(self.files.desc());
        descs.extend(self.threads.desc());
        descs.extend(self.cpu.desc());
        descs
    }

    /// A fact that cannot be read is left out.
    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::with_capacity(4);
        if let Some(stat) = Stat::read() {
            self.resident.set(stat.resident);
            self.threads.set(stat.threads);
            families.extend(self.resident.collect());
            families.extend(self.threads.collect());
            if let Ok(cpu) = cpu_counter() {
                cpu.inc_by(stat.cpu);
                families.extend(cpu.collect());
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory itself.
            self.files.set(i64::try_from(entries.count().saturating_sub(1)).unwrap_or(i64::MAX));
            families.extend(self.files.collect());
        }
        families
    }
}

/// Fields of `/proc/self/stat` (proc_pid_stat(5)).
struct Stat {
    resident: i64,
    threads: i64,
    cpu: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
        let tick = sysconf(SysconfVar::CLK_TCK).ok()??;
        Stat::parse(&text, page, tick)
    }

    /// The command's name, field 2, is in parentheses and may hold anything: fields are counted from the last one on.
    fn parse(text: &str, page: i64, tick: i64) -> Option<Stat> {
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        Some(Stat {
            resident: field(24)? * page,
            threads: field(20)?,
            cpu: (field(14)? + field(15)?) as f64 / tick as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_shifts_no_field() {
        let text = "7 (a) 1 (b)) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 3 18 19 20 21 22 23";
        let stat = Stat::parse(text, 4096, 100).unwrap();
        assert_eq!((stat.resident, stat.threads), (21 * 4096, 3));
        assert!((stat.cpu - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn this_process_uses_memory() {
        let stat = Stat::read().unwrap();
        assert!(stat.resident > 100_000 && stat.threads >= 1);
    }
}
