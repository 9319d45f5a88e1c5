use bytes::Bytes;

use super::*;
use crate::mcp::json::Parser;
use crate::mcp::vet;

fn head(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn check(pairs: &[(&str, &str)]) -> Result<(), Cause> {
    check_head(&head(pairs)).map_err(|fault| fault.cause)
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn accepts_plain_heads() {
    for value in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;Charset=\"UTF-8\"",
    ] {
        assert_eq!(check(&[("content-type", value)]), Ok(()), "{value}");
    }
    assert_eq!(
        check(&[JSON, ("content-encoding", "identity"), ("accept", "a"), ("accept", "b"), ("x_y", "1")]),
        Ok(())
    );
}

#[test]
fn refuses_heads_that_can_be_read_in_two_ways() {
    let long = ("content-length", "5");
    for (pairs, cause) in [
        (&[][..], Cause::MediaType),
        (&[("content-type", "application/jsonfoo")], Cause::MediaType),
        (&[("content-type", "text/plain")], Cause::MediaType),
        (&[("content-type", "application/json, text/plain")], Cause::MediaType),
        (&[("content-type", "application/json;")], Cause::MediaTypeParameter),
        (&[("content-type", "application/json; charset=utf-16")], Cause::MediaTypeParameter),
        (&[("content-type", "application/json; charset=utf-8; charset=utf-7")], Cause::MediaTypeParameter),
        (&[("content-type", "application/json; q=1")], Cause::MediaTypeParameter),
        (&[JSON, JSON], Cause::RepeatedHeader),
        (&[JSON, ("mcp-session-id", "a"), ("Mcp-Session-Id", "b")], Cause::RepeatedHeader),
        (&[JSON, ("mcp-param-a", "a"), ("mcp-param-a", "a")], Cause::RepeatedHeader),
        (&[JSON, long, long], Cause::RepeatedHeader),
        (&[JSON, ("content-encoding", "gzip")], Cause::ContentEncoding),
        (&[JSON, ("content-encoding", "")], Cause::ContentEncoding),
        (&[JSON, ("content-encoding", "identity, gzip")], Cause::ContentEncoding),
        (&[JSON, long, ("transfer-encoding", "chunked")], Cause::BodyLength),
        (&[JSON, ("mcp_session_id", "a")], Cause::HeaderVariant),
        (&[JSON, ("content_type", "a")], Cause::HeaderVariant),
    ] {
        assert_eq!(check(pairs), Err(cause), "{pairs:?}");
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"Hello, 世界","arguments":
    {"region":"us-west1","n":42,"deep":{"on":true},"list":["no"],"null":null},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

fn mirrors(body: &str, pairs: &[(&str, &str)]) -> Result<Option<Version>, Cause> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    check_mirrors(&head(pairs), &vet(&mut Parser::new(), &body).unwrap()).map_err(|fault| fault.cause)
}

#[test]
fn accepts_mirrors_that_agree() {
    let all = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        ("mcp-param-region", "us-west1"),
        ("mcp-param-n", "42.0"),
        ("mcp-param-on", "true"),
    ];
    assert_eq!(mirrors(CALL, &all), Ok(Some(Version::V2026_07_28)));
    assert_eq!(mirrors(CALL, &[]), Ok(Some(Version::V2026_07_28)));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(mirrors(ping, &[("mcp-protocol-version", "2025-06-18")]), Ok(Some(Version::V2025_06_18)));
    assert_eq!(mirrors(ping, &[("mcp-protocol-version", "x")]), Ok(None));
    let read = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"=?base64?literal?="}}"#;
    assert_eq!(mirrors(read, &[("mcp-name", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=")]), Ok(None));
}

#[test]
fn a_name_mirrors_what_its_method_is_about() {
    let read = r#"{"jsonrpc":"2.0","id":1,"method":"METHOD","params":{"name":"n","uri":"u","taskId":"t"}}"#;
    for (method, value) in
        [("tools/call", "n"), ("prompts/get", "n"), ("resources/read", "u"), ("tasks/get", "t"), ("tasks/update", "t")]
    {
        let body = read.replace("METHOD", method);
        for name in ["n", "u", "t"] {
            let expected = if name == value { Ok(None) } else { Err(Cause::HeaderMismatch) };
            assert_eq!(mirrors(&body, &[("mcp-name", name)]), expected, "{method} {name}");
        }
    }
    let acme = read.replace("METHOD", "acme/do");
    assert_eq!(["n", "u", "t"].map(|name| mirrors(&acme, &[("mcp-name", name)]).is_ok()), [true; 3]);
}

#[test]
fn no_mirror_agrees_with_a_batch() {
    let check = |name: &str| check_no_mirrors(&head(&[JSON, (name, "a")])).map_err(|fault| fault.cause);
    for name in ["mcp-method", "mcp-name", "mcp-param-a"] {
        assert_eq!(check(name), Err(Cause::HeaderMismatch), "{name}");
    }
    assert_eq!((check("mcp-session-id"), check("mcp-protocol-version")), (Ok(()), Ok(())));
}

#[test]
fn refuses_mirrors_that_disagree() {
    for (name, value, cause) in [
        ("mcp-protocol-version", "2025-11-25", Cause::HeaderMismatch),
        ("mcp-protocol-version", "é", Cause::BadHeaderValue),
        ("mcp-method", "tools/list", Cause::HeaderMismatch),
        ("mcp-method", "Tools/call", Cause::HeaderMismatch),
        ("mcp-method", "", Cause::HeaderMismatch),
        ("mcp-name", "other", Cause::HeaderMismatch),
        ("mcp-name", "Hello, 世界", Cause::BadHeaderValue),
        ("mcp-name", "=?base64?SGVsbG8sIOS4lueVjB==?=", Cause::BadHeaderValue),
        ("mcp-name", "=?base64?SGVsbG8?=", Cause::BadHeaderValue),
        ("mcp-name", "=?base64?SG=sbG8=?=", Cause::BadHeaderValue),
        ("mcp-name", "=?base64?/w==?=", Cause::BadHeaderValue),
        ("mcp-param-region", "eu", Cause::HeaderMismatch),
        ("mcp-param-list", "no", Cause::HeaderMismatch),
        ("mcp-param-null", "null", Cause::HeaderMismatch),
        ("mcp-param-n", "43", Cause::HeaderMismatch),
    ] {
        assert_eq!(mirrors(CALL, &[(name, value)]), Err(cause), "{name}: {value}");
    }
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(mirrors(response, &[("mcp-method", "ping")]), Err(Cause::HeaderMismatch));
}
