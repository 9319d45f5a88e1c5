use std::io::{Read, Write};
use std::net::TcpStream;

use prometheus::Registry;

use super::*;

fn start() -> (Admin, Telemetry) {
    let telemetry = Telemetry::new(Registry::new(), None).unwrap();
    (Admin::start("127.0.0.1:0".parse().unwrap(), telemetry.clone()).unwrap(), telemetry)
}

fn ask(admin: &Admin, request: &str) -> String {
    let mut stream = TcpStream::connect(admin.address()).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn each_endpoint_answers() {
    let (admin, telemetry) = start();
    assert!(ask(&admin, "GET /healthz").starts_with("HTTP/1.1 200 "));
    let metrics = ask(&admin, "GET /metrics");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4") && metrics.contains("\npolicyd_build_info{"));
    telemetry.health().expect("canary");
    let response = ask(&admin, "GET /readyz");
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains(r#""state": "waiting""#), "{response}");
    assert!(ask(&admin, "GET /metrics").contains("\npolicyd_ready 0\n"));
    telemetry.health().good("canary", "intercepted");
    let response = ask(&admin, "GET /readyz");
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains(r#""detail": "intercepted""#), "{response}");
    assert!(ask(&admin, "GET /other").starts_with("HTTP/1.1 404 "));
    let response = ask(&admin, "POST /metrics");
    assert!(response.starts_with("HTTP/1.1 405 ") && response.contains("allow: GET, HEAD"), "{response}");
    assert!(ask(&admin, "HEAD /metrics").ends_with("\r\n\r\n"));
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let (admin, telemetry) = start();
    let error = Admin::start(admin.address(), telemetry).unwrap_err().to_string();
    assert!(error.contains(&admin.address().to_string()) && error.contains("admin.listen"), "{error}");
}

#[test]
fn silent_connections_are_bounded_and_end_and_then_it_answers_again() {
    let (admin, _telemetry) = start();
    let half = |_| {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
        stream
    };
    let silent: Vec<TcpStream> = (0..CONNECTIONS).map(half).collect();
    // One more than there is room for is closed at once: what is read then is an end or a reset.
    let mut more = half(0);
    assert_eq!(more.read(&mut [0; 64]).unwrap_or(0), 0);
    for mut stream in silent {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    assert!(ask(&admin, "GET /healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn dropping_it_frees_the_address() {
    let (admin, telemetry) = start();
    let address = admin.address();
    assert!(ask(&admin, "GET /healthz").starts_with("HTTP/1.1 200 "));
    drop(admin);
    Admin::start(address, telemetry).unwrap();
}
