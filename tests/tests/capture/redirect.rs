//! What reaches policyd, with which origin, and what passes.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;

use policyd::capture::Counter;
use policyd_tests::fork::Agent;

use crate::rig::{Rig, who};

#[tokio::test]
async fn ipv4_is_redirected_with_its_origin() {
    let mut rig = Rig::new("v4");
    let address = rig.address();
    let agent = rig.agent(|output| {
        let stream = TcpStream::connect(address).unwrap();
        write!(output, "{} {}", stream.peer_addr().unwrap(), who(stream)).unwrap();
    });
    let (stream, origin) = rig.accept().await;
    assert_eq!(origin.destination, address);
    assert_eq!(origin.tgid, agent.pid());
    assert_eq!(origin.uid, 0);
    assert_eq!(origin.cgroup, rig.cgroup.directory().metadata().unwrap().ino());
    drop(stream);
    assert_eq!(agent.join().unwrap(), format!("{address} policyd"), "getpeername gives what was asked for");
    rig.assert_server_untouched();
    assert_eq!((rig.count(Counter::Redirected), rig.count(Counter::Accepted)), (1, 1));
}

#[tokio::test]
async fn ipv6_is_redirected() {
    let mut rig = Rig::with_server("v6", "[::1]:0");
    let address = rig.address();
    let agent = rig.agent(|output| {
        let stream = TcpStream::connect(address).unwrap();
        write!(output, "{} {}", stream.peer_addr().unwrap(), who(stream)).unwrap();
    });
    let (_stream, origin) = rig.accept().await;
    assert_eq!(origin.destination, address);
    assert_eq!(agent.join().unwrap(), format!("{address} policyd"));
    rig.assert_server_untouched();
}

#[tokio::test]
async fn a_mapped_address_is_the_ipv4_address_that_it_is() {
    let mut rig = Rig::new("mapped");
    let address = rig.address();
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", address.port()).parse().unwrap();
    let agent = rig.agent(|output| {
        let stream = TcpStream::connect(mapped).unwrap();
        write!(output, "{} {}", stream.peer_addr().unwrap(), who(stream)).unwrap();
    });
    let (_stream, origin) = rig.accept().await;
    assert_eq!(origin.destination, address);
    assert_eq!(agent.join().unwrap(), format!("{mapped} policyd"));
    rig.assert_server_untouched();
}

#[tokio::test]
async fn an_address_that_nobody_has_is_redirected_too() {
    let mut rig = Rig::new("nobody");
    let nowhere: SocketAddr = format!("192.0.2.7:{}", rig.address().port()).parse().unwrap();
    let agent = rig.agent(|output| {
        write!(output, "{}", who(TcpStream::connect(nowhere).unwrap())).unwrap();
    });
    let (_stream, origin) = rig.accept().await;
    assert_eq!(origin.destination, nowhere);
    assert_eq!(agent.join().unwrap(), "policyd");
}

#[tokio::test]
async fn other_ports_and_other_cgroups_pass() {
    let rig = Rig::new("pass");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uncaptured = other.local_addr().unwrap();
    let agent = rig.agent(|_| drop(TcpStream::connect(uncaptured).unwrap()));
    other.accept().unwrap();
    agent.join().unwrap();

    let address = rig.address();
    rig.server.set_nonblocking(false).unwrap();
    let outside = Agent::spawn(None, |_| drop(TcpStream::connect(address).unwrap())).unwrap();
    rig.server.accept().unwrap();
    outside.join().unwrap();
    assert_eq!(rig.count(Counter::Redirected), 0);
}
