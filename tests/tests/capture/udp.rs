//! Datagrams to captured ports (QUIC) do not leave; connecting a datagram socket works, for resolvers do it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};

use policyd::capture::Counter;
use policyd_tests::fork::Agent;

use crate::rig::{Rig, who};

/// A datagram server on the captured port of `rig`, IPv4 or IPv6.
fn server(address: SocketAddr) -> UdpSocket {
    let server = UdpSocket::bind(address).unwrap();
    server.set_nonblocking(true).unwrap();
    server
}

fn assert_silent(server: &UdpSocket) {
    assert_eq!(server.recv(&mut [0; 8]).expect_err("a datagram got out").kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn datagrams_to_captured_ports_are_refused() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let rig = Rig::with_server("udp", address);
        let target = rig.address();
        let server = server(target);
        let agent = rig.agent(|_| {
            let unconnected = UdpSocket::bind((target.ip(), 0)).unwrap();
            assert_eq!(unconnected.send_to(b"quic", target).unwrap_err().kind(), ErrorKind::PermissionDenied);
            let connected = UdpSocket::bind((target.ip(), 0)).unwrap();
            connected.connect(target).unwrap();
            assert_eq!(connected.send(b"quic").unwrap_err().kind(), ErrorKind::PermissionDenied);
        });
        agent.join().unwrap();
        assert_silent(&server);
        assert_eq!(rig.count(Counter::UdpDropped), 2);
    }
}

#[tokio::test]
async fn a_mapped_datagram_is_an_ipv4_one() {
    let rig = Rig::new("udp-mapped");
    let target = rig.address();
    let server = server(target);
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", target.port()).parse().unwrap();
    let agent = rig.agent(|_| {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        assert_eq!(socket.send_to(b"quic", mapped).unwrap_err().kind(), ErrorKind::PermissionDenied);
        socket.connect(mapped).unwrap();
        assert_eq!(socket.send(b"quic").unwrap_err().kind(), ErrorKind::PermissionDenied);
    });
    agent.join().unwrap();
    assert_silent(&server);
}

#[tokio::test]
async fn a_socket_connected_before_capture_is_caught() {
    let cgroup = policyd_tests::cgroup::Cgroup::new("udp-before").unwrap();
    let server = server("127.0.0.1:0".parse().unwrap());
    let target = server.local_addr().unwrap();
    let (mut wait, mut go) = std::io::pipe().unwrap();
    let mut agent = Agent::spawn(Some(&cgroup), |output| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(target).unwrap();
        socket.send(b"early").unwrap();
        output.write_all(b"1").unwrap();
        wait.read_exact(&mut [0]).unwrap();
        assert_eq!(socket.send(b"late").unwrap_err().kind(), ErrorKind::PermissionDenied);
    })
    .unwrap();
    let mut output = agent.output().unwrap();
    output.read_exact(&mut [0]).unwrap();
    let mut datagram = [0; 8];
    assert_eq!(server.recv(&mut datagram).unwrap(), 5);
    let options = crate::rig::options("udp-before", &cgroup, target.port());
    let _capture = policyd::capture::Capture::start(options).unwrap();
    go.write_all(b"g").unwrap();
    agent.join().unwrap();
    assert_silent(&server);
}

#[tokio::test]
async fn resolvers_learn_their_source_address_as_ever() {
    let rig = Rig::new("sorting");
    let port = rig.address().port();
    // getaddrinfo sorts by what UDP connect tells it (RFC 6724): inside and outside must agree.
    let lookup = move || {
        let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
        probe.connect(("127.0.0.1", port)).unwrap();
        assert_eq!(probe.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 1]));
        let addresses: Vec<_> = ("localhost", port).to_socket_addrs().unwrap().collect();
        format!("{addresses:?}")
    };
    let life = move |output: &mut std::fs::File| write!(output, "{}", lookup()).unwrap();
    let inside = rig.agent(life).join().unwrap();
    let outside = Agent::spawn(None, life).unwrap().join().unwrap();
    assert_eq!(inside, outside);
    assert!(inside.contains("127.0.0.1"), "{inside}");
    assert_eq!(rig.count(Counter::UdpDropped), 0);
}

#[tokio::test]
async fn other_datagrams_pass() {
    let mut rig = Rig::new("udp-pass");
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    let address = rig.address();
    let agent = rig.agent(|output| {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"dns", target).unwrap();
        write!(output, "{}", who(std::net::TcpStream::connect(address).unwrap())).unwrap();
    });
    rig.accept().await;
    agent.join().unwrap();
    assert_eq!(server.recv(&mut [0; 8]).unwrap(), 3);
}
