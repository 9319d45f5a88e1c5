//! Child processes whose output is kept line by line and which never outlive their test.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

type Lines = Arc<Mutex<Vec<String>>>;

/// A running child. Dropping it kills it.
pub struct Running {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// How a child ended, and all it said.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

fn collect(stream: impl Read + Send + 'static) -> (Lines, JoinHandle<()>) {
    let lines = Lines::default();
    let into = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            into.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    (lines, reader)
}

impl Running {
    /// Starts `command` with pipes for its three streams.
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let (stdout, out) = collect(child.stdout.take().unwrap());
        let (stderr, err) = collect(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { what, child, stdin, stdout, stderr, readers: vec![out, err] }
    }

    /// Its process id. Where it was started through `nsenter` and the like: theirs, as they exec in place.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().unwrap().clone()
    }

    /// The lines of standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits for the first line of standard output, from line `from` on, that `accept` accepts; gives its index too.
    pub fn line(&mut self, what: &str, from: usize, accept: impl Fn(&str) -> bool) -> (usize, String) {
        let description = format!("{what} from {}", self.what);
        wait::until(&description, || {
            let ended = self.has_ended();
            let lines = self.stdout();
            let found = lines.iter().enumerate().skip(from).find(|(_, line)| accept(line));
            assert!(
                found.is_some() || !ended,
                "{} ended without {what}\nstdout: {lines:#?}\nstderr: {:#?}",
                self.what,
                self.stderr()
            );
            found.map(|(index, line)| (index, line.clone()))
        })
    }

    /// Writes to its standard input.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input still open");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("a child that reads its standard input");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("a process of ours");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Waits for its end, at most [`wait::PATIENCE`].
    pub fn finish(self) -> Finished {
        self.finish_within(wait::PATIENCE)
    }

    /// Waits for its end, at most `limit`.
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        self.stdin = None;
        let what = format!("the end of {}", self.what);
        let status = wait::within(limit, &what, || self.child.try_wait().expect("a child of ours"));
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader that does not panic");
        }
        let text = |lines: Vec<String>| lines.join("\n");
        Finished { status, stdout: text(self.stdout()), stderr: text(self.stderr()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} wrote to standard error:\n{}", self.what, self.stderr().join("\n"));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
