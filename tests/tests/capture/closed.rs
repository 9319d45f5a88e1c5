//! What must not get in or out.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use nix::sched::{CloneFlags, unshare};
use policyd::capture::{Capture, Cause, Counter};
use policyd_tests::fork::Agent;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, options, who};

#[tokio::test]
async fn the_canary_proves_interception() {
    let mut rig = Rig::new("canary");
    rig.acceptor.canary(PATIENCE).await.unwrap();
    rig.acceptor.canary(PATIENCE).await.unwrap();
    assert_eq!(rig.count(Counter::Accepted), 2);
    assert_eq!(std::fs::read_dir(rig.cgroup.directory()).unwrap().flatten().filter(|e| e.path().is_dir()).count(), 0);
}

#[tokio::test]
async fn connections_that_come_with_the_canary_are_kept() {
    let mut rig = Rig::new("canary-kept");
    let address = rig.address();
    let agent = rig.agent(|output| {
        write!(output, "{}", who(TcpStream::connect(address).unwrap())).unwrap();
    });
    while rig.count(Counter::Accepted) == 0 {
        tokio::task::yield_now().await;
    }
    rig.acceptor.canary(PATIENCE).await.unwrap();
    assert_eq!(rig.accept().await.1.tgid, agent.pid());
    assert_eq!(agent.join().unwrap(), "policyd");
}

#[tokio::test]
async fn the_canary_dies_where_interception_does_not_work() {
    // Here its packet has nowhere to go.
    policyd_tests::netns::enter_new().unwrap();
    let mut rig = Rig::new("canary-dies");
    // Somebody removes the pins: the programs are gone.
    let pins = format!("/sys/fs/bpf/policyd/test-{}-canary-dies/links", std::process::id());
    for pin in std::fs::read_dir(pins).unwrap().flatten() {
        std::fs::remove_file(pin.path()).unwrap();
    }
    let error = rig.acceptor.canary(PATIENCE).await.unwrap_err();
    assert!(matches!(error, policyd::capture::CanaryError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn dialling_the_listener_gets_nothing_and_is_counted() {
    let mut rig = Rig::new("dial");
    let handle = rig.capture.handle();
    let listening = rig.capture.listening().unwrap();
    assert_eq!(listening.len(), 2);
    for (number, listener) in (1..).zip(listening) {
        let inside = rig.agent(|output| write!(output, "{}", who(TcpStream::connect(listener).unwrap())).unwrap());
        let outside =
            Agent::spawn(None, |output| write!(output, "{}", who(TcpStream::connect(listener).unwrap())).unwrap());
        let closed = async {
            while handle.dialled() < number * 2 {
                let accepted = timeout(std::time::Duration::from_millis(20), rig.acceptor.accept()).await;
                assert!(accepted.is_err(), "a dialled connection was yielded");
            }
        };
        timeout(PATIENCE, closed).await.expect("the dialled connections were not counted");
        for agent in [inside, outside.unwrap()] {
            assert_ne!(agent.join().unwrap(), "policyd");
        }
    }
    assert_eq!(rig.count(Counter::Redirected), 0);
}

#[tokio::test]
async fn another_network_namespace_is_refused_and_told() {
    let rig = Rig::new("netns");
    let address = rig.address();
    let mut events = rig.capture.events().unwrap().unwrap();
    assert!(rig.capture.events().unwrap().is_none(), "events are given once");
    let agent = rig.agent(|output| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        write!(output, "{}", TcpStream::connect(address).unwrap_err().kind()).unwrap();
    });
    let refusal = timeout(PATIENCE, events.next()).await.expect("no event came").unwrap();
    assert_eq!(refusal.cause, Cause::Namespace);
    assert_eq!(refusal.origin.destination, address);
    assert_eq!(refusal.origin.tgid, agent.pid());
    assert_eq!(agent.join().unwrap(), ErrorKind::PermissionDenied.to_string());
    assert_eq!(rig.count(Counter::RefusedNamespace), 1);
}

#[tokio::test]
async fn only_the_token_of_this_instance_exempts() {
    let mut rig = Rig::new("token");
    let other = Rig::new("token-other");
    let address = rig.address();
    let agent = rig.agent(|output| {
        let domain = nix::sys::socket::AddressFamily::Inet;
        let kind = nix::sys::socket::SockType::Stream;
        let fd = nix::sys::socket::socket(domain, kind, nix::sys::socket::SockFlag::empty(), None).unwrap();
        // The other instance's map, which the fork has: its token means nothing here.
        other.capture.handle().exempt(&fd).unwrap();
        let std::net::SocketAddr::V4(v4) = address else { panic!("IPv4 is wanted") };
        nix::sys::socket::connect(fd.as_raw_fd(), &nix::sys::socket::SockaddrIn::from(v4)).unwrap();
        write!(output, "{}", who(fd.into())).unwrap();
    });
    rig.accept().await;
    assert_eq!(agent.join().unwrap(), "policyd");

    // And the right one does.
    let agent = rig.agent(|output| {
        let domain = nix::sys::socket::AddressFamily::Inet;
        let kind = nix::sys::socket::SockType::Stream;
        let fd = nix::sys::socket::socket(domain, kind, nix::sys::socket::SockFlag::empty(), None).unwrap();
        rig.capture.handle().exempt(&fd).unwrap();
        let std::net::SocketAddr::V4(v4) = address else { panic!("IPv4 is wanted") };
        nix::sys::socket::connect(fd.as_raw_fd(), &nix::sys::socket::SockaddrIn::from(v4)).unwrap();
        write!(output, "{}", TcpStream::from(fd).peer_addr().unwrap()).unwrap();
    });
    assert_eq!(agent.join().unwrap(), address.to_string());
    rig.server.accept().unwrap();
    assert_eq!(rig.count(Counter::Exempted), 1);
}

#[tokio::test]
async fn an_instance_runs_once() {
    let rig = Rig::new("once");
    let error = Capture::start(options("once", &rig.cgroup, 1)).map(drop).unwrap_err();
    assert!(error.to_string().contains("another policyd runs"), "{error}");
    assert_eq!(error.exit_code(), 69);
    let error = Capture::start(options("../once", &rig.cgroup, 1)).map(drop).unwrap_err();
    assert_eq!(error.exit_code(), 78);
}

#[tokio::test]
async fn ports_change_while_it_runs() {
    let mut rig = Rig::new("reload");
    let address = rig.address();
    rig.capture.set_ports(&[1].into(), false).unwrap();
    rig.agent(|_| drop(TcpStream::connect(address).unwrap())).join().unwrap();
    rig.server.accept().unwrap();
    rig.capture.set_ports(&[1].into(), true).unwrap();
    let agent = rig.agent(|output| write!(output, "{}", who(TcpStream::connect(address).unwrap())).unwrap());
    assert_eq!(rig.accept().await.1.destination, address);
    assert_eq!(agent.join().unwrap(), "policyd");
    rig.assert_server_untouched();
}

#[tokio::test]
async fn cgroups_change_while_it_runs() {
    let mut rig = Rig::new("regroup");
    let address = rig.address();
    let (old, again) = (rig.cgroup.path().to_owned(), rig.cgroup.directory().to_owned());
    let other = policyd_tests::cgroup::Cgroup::new("regroup-other").unwrap();
    rig.capture.set_cgroups(&[old.clone(), other.path().to_owned()]).unwrap();
    // As a unit's cgroup is when the unit restarts: the same path, another cgroup.
    std::fs::remove_dir(&again).unwrap();
    std::fs::create_dir(&again).unwrap();
    rig.capture.set_cgroups(&[old.clone(), other.path().to_owned()]).unwrap();
    for cgroup in [&other, &rig.cgroup] {
        let life =
            |output: &mut std::fs::File| write!(output, "{}", who(TcpStream::connect(address).unwrap())).unwrap();
        let agent = Agent::spawn(Some(cgroup), life).unwrap();
        let (mut stream, _, _) = timeout(PATIENCE, rig.acceptor.accept()).await.unwrap().unwrap();
        stream.write_all(b"policyd").unwrap();
        assert_eq!(agent.join().unwrap(), "policyd");
    }
    rig.assert_server_untouched();
    rig.capture.set_cgroups(&[old]).unwrap();
    Agent::spawn(Some(&other), |_| drop(TcpStream::connect(address).unwrap())).unwrap().join().unwrap();
    rig.server.accept().unwrap();
    let error = rig.capture.set_cgroups(&["/policyd-test-no-such.slice".to_owned()]).unwrap_err();
    assert_eq!(error.exit_code(), 78);
}

#[test]
fn without_capabilities_it_says_so() {
    let cgroup = policyd_tests::cgroup::Cgroup::new("nobody").unwrap();
    let life = |output: &mut std::fs::File| {
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        let error = Capture::start(options("unprivileged", &cgroup, 443)).map(drop).unwrap_err();
        write!(output, "{} {error}", error.exit_code()).unwrap();
    };
    let said = Agent::spawn(None, life).unwrap().join().unwrap();
    assert!(said.starts_with("77 not permitted to ") && said.contains("CAP_BPF"), "{said}");
}

#[test]
fn a_cgroup_that_does_not_exist_is_a_configuration_error() {
    let mut options = options("missing", &policyd_tests::cgroup::Cgroup::new("missing").unwrap(), 443);
    options.cgroups = vec!["/policyd-test-no-such.slice".to_owned()];
    let error = Capture::start(options).map(drop).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("/policyd-test-no-such.slice"), "{error}");
}
