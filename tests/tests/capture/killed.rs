//! A daemon that is killed, and the one after it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use policyd::capture::{detach, remove_stale};
use policyd_tests::cgroup::Cgroup;
use policyd_tests::fork::Agent;

use crate::rig::who;

/// A daemon in a process of its own. Killed when it is dropped, and detached.
struct Daemon {
    process: Child,
    output: BufReader<ChildStdout>,
    instance: String,
    /// Its listener's port on 127.0.0.1.
    listener: u16,
}

impl Daemon {
    fn start(instance: &str, port: u16, cgroup: &Cgroup, answer: &str, own: Option<&Cgroup>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capture-daemon"));
        command.args([instance, &port.to_string(), cgroup.path(), answer]).args(own.map(Cgroup::path));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut daemon = Self { process, output, instance: instance.to_owned(), listener: 0 };
        let ready = daemon.line();
        daemon.listener = ready.strip_prefix("ready ").expect(&ready).parse().unwrap();
        daemon
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// SIGKILL; what it pinned stays.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = detach(&self.instance);
    }
}

fn instance(name: &str) -> String {
    format!("test-{}-{name}", std::process::id())
}

/// A server that agents must not reach.
fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

fn assert_untouched(server: &TcpListener) {
    assert_eq!(server.accept().expect_err("a connect was let out").kind(), ErrorKind::WouldBlock);
}

/// What an agent in `cgroup` gets from `address`.
fn visit(cgroup: &Cgroup, address: SocketAddr) -> String {
    let life = |output: &mut File| {
        let outcome = match TcpStream::connect(address) {
            Ok(stream) => who(stream),
            Err(error) => error.kind().to_string(),
        };
        write!(output, "{outcome}").unwrap();
    };
    Agent::spawn(Some(cgroup), life).unwrap().join().unwrap()
}

/// The same, with the server answering: for connects that must reach it.
fn visit_served(cgroup: &Cgroup, server: &TcpListener) -> String {
    let address = server.local_addr().unwrap();
    // The answer is sent by a process of its own, which ends with this function whether anybody comes or not.
    let _server = Agent::spawn(None, |_| {
        server.set_nonblocking(false).unwrap();
        server.accept().unwrap().0.write_all(b"server!").unwrap();
    });
    let answer = visit(cgroup, address);
    server.set_nonblocking(true).unwrap();
    answer
}

#[test]
fn kill_9_leaves_connects_refused_and_a_restart_recovers() {
    let (server, address) = server();
    let cgroup = Cgroup::new("killed").unwrap();
    let instance = instance("killed");
    let mut daemon = Daemon::start(&instance, address.port(), &cgroup, "itself", None);
    assert_eq!(visit(&cgroup, address), "policyd");
    daemon.kill();
    assert_eq!(visit(&cgroup, address), ErrorKind::PermissionDenied.to_string());
    let mut second = Daemon::start(&instance, address.port(), &cgroup, "itself", None);
    assert_eq!(visit(&cgroup, address), "policyd");
    second.kill();
    assert_eq!(visit(&cgroup, address), ErrorKind::PermissionDenied.to_string());
    assert_untouched(&server);
    detach(&instance).unwrap();
    assert_eq!(visit_served(&cgroup, &server), "server!");
}

#[test]
fn a_squatter_on_the_listeners_port_gets_nothing() {
    let (server, address) = server();
    let cgroup = Cgroup::new("squat").unwrap();
    let mut daemon = Daemon::start(&instance("squat"), address.port(), &cgroup, "itself", None);
    daemon.kill();
    let squatter = TcpListener::bind(("127.0.0.1", daemon.listener)).unwrap();
    squatter.set_nonblocking(true).unwrap();
    assert_eq!(visit(&cgroup, address), ErrorKind::PermissionDenied.to_string());
    assert_untouched(&squatter);
    assert_untouched(&server);
}

#[test]
fn a_restart_under_load_lets_nothing_out() {
    let (server, address) = server();
    let cgroup = Cgroup::new("gap").unwrap();
    let instance = instance("gap");
    let mut daemon = Daemon::start(&instance, address.port(), &cgroup, "itself", None);
    // Connects as fast as it can, a letter for each outcome, until the test closes the pipe.
    let mut agent = Agent::spawn(Some(&cgroup), |output| {
        loop {
            let outcome = match TcpStream::connect(address) {
                Ok(stream) if who(stream.try_clone().unwrap()) == "policyd" => b'p',
                Ok(_) => b'c',
                Err(error) if error.kind() == ErrorKind::PermissionDenied => b'e',
                // The daemon died between the redirection and the handshake.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => b'c',
                Err(error) => panic!("{error}"),
            };
            if output.write_all(&[outcome]).is_err() {
                break;
            }
        }
    })
    .unwrap();
    let mut outcomes = BufReader::new(agent.output().unwrap()).bytes();
    let mut wait_for = |wanted| while outcomes.next().unwrap().unwrap() != wanted {};
    for _ in 0..3 {
        wait_for(b'p');
        daemon.kill();
        wait_for(b'e');
        daemon = Daemon::start(&instance, address.port(), &cgroup, "itself", None);
        wait_for(b'p');
        // Old daemons would print into a pipe that nobody reads; this one goes with the loop.
        assert_untouched(&server);
    }
    drop(agent);
    assert_untouched(&server);
}

#[test]
fn a_restart_with_other_cgroups_forgets_the_old_ones() {
    let (server, address) = server();
    let (old, new) = (Cgroup::new("old").unwrap(), Cgroup::new("new").unwrap());
    let instance = instance("other");
    Daemon::start(&instance, address.port(), &old, "itself", None).kill();
    let mut first = Daemon::start(&instance, address.port(), &old, "itself", None);
    first.kill();
    assert_eq!(visit(&old, address), ErrorKind::PermissionDenied.to_string());
    let _second = Daemon::start(&instance, address.port(), &new, "itself", None);
    assert_eq!(visit(&new, address), "policyd");
    assert_untouched(&server);
    assert_eq!(visit_served(&old, &server), "server!");
}

#[test]
fn its_own_upstream_is_not_captured_although_its_cgroup_is() {
    for answer in ["exempt", "own"] {
        let (server, address) = server();
        let parent = Cgroup::new("own-parent").unwrap();
        let (own, agents) = (parent.child("daemon").unwrap(), parent.child("agents").unwrap());
        let mut daemon = Daemon::start(&instance(answer), address.port(), &parent, answer, Some(&own));
        assert_eq!(visit_served(&agents, &server), "server!");
        assert_eq!(daemon.line(), format!("accepted {address}"), "the agent came through policyd");
        // Nor does anybody else in its cgroup share its exemption.
        daemon.kill();
        assert_eq!(visit(&own, address), ErrorKind::PermissionDenied.to_string());
        assert_untouched(&server);
    }
}

#[test]
fn a_dead_daemons_mark_exempts_nothing() {
    let (server, address) = server();
    let parent = Cgroup::new("heir-parent").unwrap();
    let own = parent.child("daemon").unwrap();
    let mut daemon = Daemon::start(&instance("heir"), address.port(), &parent, "heir", Some(&own));
    daemon.kill();
    assert_eq!(daemon.line(), format!("heir {}", nix::errno::Errno::EPERM));
    assert_untouched(&server);
}

#[test]
fn stale_pins_of_exec_go_when_its_command_has_ended() {
    let (_server, address) = server();
    let cgroup = Cgroup::new("stale").unwrap();
    let name = format!("exec-test-{}", std::process::id());
    let mut daemon = Daemon::start(&name, address.port(), &cgroup, "itself", None);
    assert!(!remove_stale().unwrap().contains(&name), "it runs");
    let (mut wait, go) = std::io::pipe().unwrap();
    let command = Agent::spawn(Some(&cgroup), |output| {
        write!(output, "here").unwrap();
        let _ = wait.read(&mut [0]);
    })
    .unwrap();
    let mut command = command;
    command.output().unwrap().read_exact(&mut [0; 4]).unwrap();
    daemon.kill();
    assert!(!remove_stale().unwrap().contains(&name), "its command runs");
    assert_eq!(visit(&cgroup, address), ErrorKind::PermissionDenied.to_string());
    drop((command, go));
    while std::fs::read_to_string(cgroup.directory().join("cgroup.events")).unwrap().contains("populated 1") {
        std::thread::yield_now();
    }
    assert!(remove_stale().unwrap().contains(&name));
    assert!(!std::path::Path::new("/sys/fs/bpf/policyd").join(&name).exists());
}
