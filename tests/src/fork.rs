//! A process of its own for a few system calls: the part of an agent in the tests of capture.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::cgroup::Cgroup;

/// A running agent. Killed when it is dropped.
#[derive(Debug)]
pub struct Agent {
    pid: Pid,
    output: Option<File>,
    reaped: bool,
}

impl Agent {
    /// Forks a process, moves it into `cgroup`, and runs `life` there. `life` gets a pipe to the test.
    ///
    /// # Errors
    ///
    /// The kernel's. That it could not enter the cgroup shows as its exit code 101, like a panic.
    pub fn spawn(cgroup: Option<&Cgroup>, life: impl FnOnce(&mut File)) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        // SAFETY: nextest runs each test in a process of its own; no other thread of it holds a lock that `life` needs.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                drop(writer);
                // SAFETY: the descriptor is ours, taken out of the pipe.
                let output = unsafe { File::from_raw_fd(reader.into_raw_fd()) };
                Ok(Self { pid: child, output: Some(output), reaped: false })
            }
            ForkResult::Child => {
                drop(reader);
                // SAFETY: as above.
                let mut output = unsafe { File::from_raw_fd(writer.into_raw_fd()) };
                let entered = cgroup.map_or(Ok(()), Cgroup::enter);
                let lived = entered.is_ok() && catch_unwind(AssertUnwindSafe(|| life(&mut output))).is_ok();
                drop(output);
                // SAFETY: ends the fork without running the test's destructors a second time.
                unsafe { libc::_exit(if lived { 0 } else { 101 }) }
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// The pipe from it.
    ///
    /// # Errors
    ///
    /// That it was taken before.
    pub fn output(&mut self) -> io::Result<File> {
        self.output.take().ok_or_else(|| io::Error::other("the agent's output was taken"))
    }

    /// Everything that it wrote; waits for its end.
    ///
    /// # Errors
    ///
    /// That it panicked or was killed.
    pub fn join(mut self) -> io::Result<String> {
        let mut text = String::new();
        if let Some(mut output) = self.output.take() {
            output.read_to_string(&mut text)?;
        }
        let status = waitpid(self.pid, None)?;
        self.reaped = true;
        match status {
            WaitStatus::Exited(_, 0) => Ok(text),
            other => Err(io::Error::other(format!("the agent ended with {other:?} after {text:?}"))),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}
