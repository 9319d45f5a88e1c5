#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::svcb::{EchConfigList, SVCB, SvcParamKey, SvcParamValue};
use hickory_resolver::proto::rr::rdata::{A, HTTPS};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;
use crate::config::OtherPaths;

fn server(host: &str, port: u16) -> Arc<Server> {
    let host = host.parse().map_or_else(|_| Host::Name(host.into()), Host::Address);
    Arc::new(Server {
        name: "server".into(),
        tls: true,
        host,
        port,
        path: "/mcp".into(),
        upstream: None,
        other_paths: OtherPaths::Pass,
    })
}

/// A name server on loopback: `up.example` has the address 192.0.2.N and the ECH public name `cover.example`; everything
/// else does not exist. With N = 0 it fails.
async fn name_server() -> (u16, Arc<AtomicU16>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let last = Arc::new(AtomicU16::new(1));
    let current = last.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
            answer.add_query(query.clone());
            let last = u8::try_from(current.load(Ordering::SeqCst)).unwrap();
            let ours = query.name() == &Name::from_ascii("up.example.").unwrap();
            let data = match query.query_type() {
                RecordType::A => Some(RData::A(A(Ipv4Addr::new(192, 0, 2, last)))),
                RecordType::HTTPS => {
                    let config =
                        b"\0\x24\xfe\x0d\0\x20\x07\0\x20\0\x04keys\0\x04\0\x01\0\x01\0\x0dcover.example\0\0".to_vec();
                    let ech = SvcParamValue::EchConfigList(EchConfigList(config));
                    Some(RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), vec![(SvcParamKey::EchConfigList, ech)]))))
                }
                _ => None,
            };
            if last == 0 {
                answer.metadata.response_code = ResponseCode::ServFail;
            } else if !ours {
                answer.metadata.response_code = ResponseCode::NXDomain;
            } else if let Some(data) = data {
                answer.add_answer(Record::from_rdata(query.name().clone(), 1, data));
            }
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    (port, last)
}

fn system(folder: &Path, hosts: &str, resolv_conf: &str) -> System {
    let (hosts_file, resolv_file) = (folder.join("hosts"), folder.join("resolv.conf"));
    fs::write(&hosts_file, hosts).unwrap();
    fs::write(&resolv_file, resolv_conf).unwrap();
    System::new(hosts_file, resolv_file)
}

fn covers(names: &Names, address: &str) -> bool {
    names.protected().covers(address.parse::<SocketAddr>().unwrap())
}

/// Lets every name be due again.
fn expire(names: &Names) {
    names.known().values_mut().for_each(|known| known.due = None);
}

#[tokio::test]
async fn a_hosts_file_alone_is_enough_and_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let system = system(folder.path(), "192.0.2.7 up.example\n2001:db8::7 UP.example other\n", "");
    let names = Names::with_system(&[server("up.example", 443)], system);
    assert!(!covers(&names, "192.0.2.7:443"));
    let status = names.refresh().await;
    assert_eq!(status[0].error, None);
    assert!(covers(&names, "192.0.2.7:443") && covers(&names, "[2001:db8::7]:443") && !covers(&names, "192.0.2.7:80"));
    assert_eq!(names.addresses_of("other").await.unwrap(), ["2001:db8::7".parse::<IpAddr>().unwrap()]);
    let error = names.addresses_of("elsewhere.example").await.unwrap_err().to_string();
    assert!(error.contains("names no name server"), "{error}");

    fs::write(folder.path().join("hosts"), "192.0.2.88 up.example\n").unwrap();
    expire(&names);
    names.refresh().await;
    assert!(covers(&names, "192.0.2.88:443"));
    assert!(covers(&names, "192.0.2.7:443"), "an agent may have resolved the name before");
}

#[tokio::test]
async fn names_are_resolved_by_dns_and_kept_while_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (port, last) = name_server().await;
    let system = system(folder.path(), "", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").with_port(port);
    let names = Names::with_system(&[server("up.example", 443), server("gone.example", 443)], system);
    let status = names.refresh().await;
    assert_eq!((status[0].name.as_str(), status[0].error.is_some()), ("gone.example", true));
    assert_eq!((status[1].name.as_str(), status[1].error.is_some()), ("up.example", false));
    assert!(covers(&names, "192.0.2.1:443"));
    assert!(names.protected().is_ech_public_name("cover.example"));

    // The answer's time to live is a second: wait until the resolver asks again, by asking it.
    last.store(2, Ordering::SeqCst);
    let moved = async {
        while names.addresses_of("up.example").await.unwrap() != ["192.0.2.2".parse::<IpAddr>().unwrap()] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), moved).await.unwrap();
    expire(&names);
    names.refresh().await;
    assert!(covers(&names, "192.0.2.1:443") && covers(&names, "192.0.2.2:443"));

    last.store(0, Ordering::SeqCst);
    let failed = async {
        while names.status()[1].error.is_none() {
            expire(&names);
            names.refresh().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), failed).await.unwrap();
    assert!(covers(&names, "192.0.2.2:443"));
    assert_eq!(names.addresses_of("up.example").await.unwrap()[0], "192.0.2.2".parse::<IpAddr>().unwrap());
}

#[tokio::test]
async fn run_resolves_at_once_and_again_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let system = system(folder.path(), "192.0.2.7 up.example\n192.0.2.8 new.example\n", "");
    let names = Names::with_system(&[server("up.example", 443)], system);
    let until = async |address: &str| {
        while !covers(&names, address) {
            tokio::task::yield_now().await;
        }
    };
    let story = async {
        until("192.0.2.7:443").await;
        names.set_servers(&[server("new.example", 8443)]);
        until("192.0.2.8:8443").await;
    };
    tokio::select! {
        () = names.run(|_| {}) => {}
        done = tokio::time::timeout(Duration::from_secs(20), story) => done.unwrap(),
    }
    assert!(!covers(&names, "192.0.2.7:443"));
}

#[test]
fn servers_by_address_and_overridden_upstreams_are_protected_from_the_start() {
    let mut overridden = (*server("up.example", 443)).clone();
    overridden.upstream = Some("198.51.100.1:9000".parse().unwrap());
    let names = Names::new(&[server("192.0.2.9", 443), Arc::new(overridden)]);
    assert!(covers(&names, "192.0.2.9:443") && covers(&names, "198.51.100.1:9000"));
    assert!(!covers(&names, "198.51.100.1:443"));
}

#[test]
fn a_server_on_loopback_is_protected_at_every_address_of_the_host() {
    let names = Names::new(&[server("127.0.0.1", 3000)]);
    let local = nix::ifaddrs::getifaddrs()
        .unwrap()
        .filter_map(|interface| Some(IpAddr::V4(interface.address?.as_sockaddr_in()?.ip())));
    for address in local {
        assert!(names.protected().covers(SocketAddr::new(address, 3000)), "{address}");
    }
    assert!(covers(&names, "[::1]:3000") && !covers(&names, "192.0.2.1:3000"));
}

#[test]
fn failures_are_asked_about_ever_less_often() {
    let (now, mut known) = (Instant::now(), Known::default());
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let error = LookupError::Failed { name: "a".into(), cause: "x".into() };
        known.note(Err(error), None, now);
        pauses.push((known.due.unwrap() - now).as_secs());
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
}
