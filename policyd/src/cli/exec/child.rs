//! COMMAND at work: its signals, and what it ends with.

use std::io;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{self, Pid};
use tokio::process::Child;
use tokio::signal::unix::{self, SignalKind, signal};

/// The signals that would end policyd before COMMAND. They are caught from the beginning, so that policyd always cleans up.
///
/// Caught, not ignored: an ignored signal would stay ignored in COMMAND (execve(2)).
pub struct Signals {
    terminate: unix::Signal,
    hangup: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    /// Whether the terminal's signals are passed on too.
    all: bool,
}

impl Signals {
    /// Catches them, on a tokio runtime.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            all: false,
        })
    }

    /// As [`Signals::catch`]; SIGINT and SIGQUIT are passed on as well, unless a terminal sends them to COMMAND itself.
    pub fn catch_all() -> io::Result<Self> {
        Ok(Self { all: !in_foreground(), ..Self::catch()? })
    }

    /// The next signal that COMMAND has not got itself. The terminal sends SIGINT and SIGQUIT to the whole foreground
    /// group: COMMAND has them, and decides.
    async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Signal::SIGTERM,
                _ = self.hangup.recv() => return Signal::SIGHUP,
                _ = self.user1.recv() => return Signal::SIGUSR1,
                _ = self.user2.recv() => return Signal::SIGUSR2,
                _ = self.interrupt.recv() => if self.all { return Signal::SIGINT },
                _ = self.quit.recv() => if self.all { return Signal::SIGQUIT },
            }
        }
    }

    /// Waits for COMMAND and passes signals on to it meanwhile.
    pub async fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        loop {
            tokio::select! {
                // First, so that no signal is sent to an id that has ended.
                biased;
                status = child.wait() => return status,
                signal = self.next() => {
                    if let Some(pid) = pid {
                        // Fails only for a process that has just ended, which `wait` tells next.
                        let _ = kill(pid, signal);
                    }
                }
            }
        }
    }
}

/// Whether this process is in the foreground group of a terminal.
fn in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty").ok().and_then(|terminal| unistd::tcgetpgrp(terminal).ok());
    terminal == Some(unistd::getpgrp())
}
