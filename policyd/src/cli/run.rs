//! `policyd run`: the daemon, from its configuration to its last call.

mod reload;

use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind, signal};

use super::{color, exit, say};
use crate::config::{Config, ConfigError, ExitCode};
use crate::daemon::{Daemon, Options, StartError};
use crate::telemetry::logs;
use crate::tls::authority::Authority;
use crate::{audit, capture::Pins};
use reload::Watch;

/// What `--help` says beyond the first line.
pub const LONG: &str = "Run the daemon.\n\n\
    Reads the configuration and every policy that it names; tells everything that is wrong with them at once, \
    before anything is bound or attached. Then attaches to the agents' cgroups, proves interception with a canary \
    connection, and tells systemd that it is ready.\n\n\
    SIGHUP, or a change of one of the files, reloads: counters and connections stay; a bad new policy leaves the \
    old one in force and says so in the log, a metric and /readyz. SIGTERM and SIGINT drain: no new connections, \
    running calls finish within `timeouts.drain`. While no daemon runs, the agents' connections to captured ports \
    are refused; `policyd detach` lets them out.";

/// Arguments of `policyd run`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_long_help = after_help()
)]
pub struct RunArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/policyd/policyd.toml")]
    pub config: PathBuf,
    /// Only check the configuration and its policies; needs no privileges
    #[arg(long)]
    pub check: bool,
    /// What to log: `info`, `debug`, `policyd=debug,hyper=warn` … (default: RUST_LOG, or `info`)
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// How log lines look: `text` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
    /// Keep the limits' counters in memory only, to measure what keeping them costs
    #[arg(long, hide = true)]
    pub forget_counters: bool,
}

fn after_help() -> String {
    format!(
        "Examples:\n  policyd run --config ./policyd.toml --check\n  sudo policyd run --config ./policyd.toml\n  \
         sudo systemctl reload policyd\n\n{}",
        exit::TABLE
    )
}

/// Runs the daemon until it is told to end.
pub fn run(args: &RunArgs) -> u8 {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if args.check {
        say(format_args!("`{}` is good: {}", args.config.display(), summary(&config)));
        return exit::OK;
    }
    if let Err(why) = log(args) {
        say(why);
        return exit::USAGE;
    }
    // A runtime of its own: signals and files are looked after however busy the connections' runtimes are.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("no event loop can be made: {error}"));
            return exit::UNAVAILABLE;
        }
    };
    serve(args, config, &runtime)
}

/// Prints everything that is wrong.
fn refuse(error: &ConfigError) -> u8 {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), error.render(color(&std::io::stderr())).as_bytes());
    let problems = error.problems();
    let plural = if problems == 1 { "" } else { "s" };
    say(format_args!("{problems} problem{plural} found, nothing was started"));
    match error.exit_code {
        ExitCode::Data => exit::DATA,
        ExitCode::Config => exit::CONFIG,
    }
}

fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {}",
        count(config.servers.len() + config.commands.len(), "server"),
        count(config.grants.len(), "grant")
    )
}

fn log(args: &RunArgs) -> Result<(), logs::Error> {
    let environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    logs::init(args.log_format.parse()?, args.log_level.as_deref(), environment.as_deref())
}

/// The signals that a daemon is told things by.
struct Signals {
    hangup: unix::Signal,
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    fn catch(runtime: &Runtime) -> std::io::Result<Self> {
        let _inside = runtime.enter();
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Starts the daemon and looks after it. The daemon has event loops of its own: it is started outside of this one.
fn serve(args: &RunArgs, config: Config, runtime: &Runtime) -> u8 {
    // Before anything starts, so that a signal that comes meanwhile is not lost.
    let signals = match Signals::catch(runtime) {
        Ok(signals) => signals,
        Err(error) => {
            say(format_args!("signals cannot be watched: {error}"));
            return exit::UNAVAILABLE;
        }
    };
    let (drain, digest) = (config.timeouts.drain, config.digest);
    let watch = {
        let _inside = runtime.enter();
        Watch::new(&config.files)
    };
    let watch = match watch {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "files cannot be watched: reload with SIGHUP");
            None
        }
    };
    tracing::info!(config = %args.config.display(), "starting: {}", summary(&config));
    let daemon = match start(config, !args.forget_counters) {
        Ok(daemon) => daemon,
        Err(error) => {
            say(&error);
            return error.exit_code();
        }
    };
    tell(&[NotifyState::Ready, NotifyState::Status("ready")]);
    tracing::info!("ready");
    runtime.block_on(attend(args, daemon, signals, watch, drain, digest));
    exit::OK
}

fn start(config: Config, keep_counters: bool) -> Result<Daemon, StartError> {
    let authority = Authority::open(&config.state_dir, &config.servers)?;
    let audit_key = audit::Key::load_or_create(&config.state_dir)?;
    Daemon::start(Options { config, authority, audit_key, pins: Pins::Keep, keep_counters, observer: None })
}

async fn attend(
    args: &RunArgs,
    daemon: Daemon,
    signals: Signals,
    mut watch: Option<Watch>,
    mut drain: Duration,
    mut digest: [u8; 32],
) {
    let Signals { mut hangup, mut terminate, mut interrupt } = signals;
    loop {
        let asked = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => true,
            () = changed(&mut watch) => false,
        };
        if asked {
            // Type=notify-reload wants the time of the reload's beginning (sd_notify(3)).
            match NotifyState::monotonic_usec_now() {
                Ok(now) => tell(&[NotifyState::Reloading, now]),
                Err(_) => tell(&[NotifyState::Reloading]),
            }
        }
        let loaded = Config::load(&args.config);
        let (files, new) = match &loaded {
            Ok(config) => (&config.files, config.digest),
            Err(error) => (&error.files, error.digest),
        };
        if let Some(watch) = &mut watch {
            watch.set(files);
        }
        // An editor's save touches a folder several times; only other contents are a change.
        if asked || new != digest {
            digest = new;
            if let Ok(config) = &loaded {
                drain = config.timeouts.drain;
            }
            reload(&daemon, loaded);
        }
        if asked {
            // SIGHUP is also what log rotation sends.
            daemon.reopen_log();
            tell(&[NotifyState::Ready]);
        }
    }
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    tracing::info!(?drain, "draining; again to end at once");
    // Draining blocks; a second signal must still end it.
    let stop = tokio::task::spawn_blocking(move || daemon.stop(drain, Pins::Keep));
    tokio::select! {
        _ = stop => {}
        _ = terminate.recv() => std::process::exit(exit::OK.into()),
        _ = interrupt.recv() => std::process::exit(exit::OK.into()),
    }
    tracing::info!("ended");
}

/// Puts what was loaded in force, or tells why the old stays.
fn reload(daemon: &Daemon, loaded: Result<Config, ConfigError>) {
    match loaded {
        Ok(config) => {
            let summary = summary(&config);
            match daemon.reload(config) {
                Ok(()) => {
                    tell(&[NotifyState::Status("ready")]);
                    tracing::info!("reloaded: {summary}");
                }
                Err(why) => {
                    tell(&[NotifyState::Status("the new configuration cannot be put in force, the old one stays")]);
                    tracing::error!("the new configuration cannot be put in force, the old one stays: {why}");
                }
            }
        }
        Err(error) => {
            tell(&[NotifyState::Status("the new configuration is bad, the old one stays in force")]);
            tracing::error!("the new configuration is bad, the old one stays in force:\n{}", error.render(false));
            daemon.reload_failed(&error.to_string());
        }
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Tells systemd; without it (`NOTIFY_SOCKET`), nobody.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
