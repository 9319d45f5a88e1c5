use super::*;

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_denied_call_is_a_result() {
    assert_eq!(
        text(denied_call(Id("7"), "no", Some(Version::V2025_11_25))),
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"Denied by policy: no"}],"isError":true}}"#
    );
    assert_eq!(
        text(denied_call(Id("\"a\""), "full; try again in 12 s", Some(Version::V2026_07_28))),
        concat!(
            r#"{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"Denied by policy: full; try again in 12 s"}],"#,
            r#""isError":true,"resultType":"complete"}}"#
        )
    );
}

#[test]
fn other_denials_are_errors() {
    assert_eq!(
        text(denied_request(Id("1"), "/methods/a~1b", "no", None)),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Denied by policy: no","data":{"rule":"/methods/a~1b"}}}"#
    );
    assert_eq!(
        text(denied_request(Id("1"), "/default", "no; try again in 3 s", Some(Duration::from_millis(2_001)))),
        concat!(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Denied by policy: no; try again in 3 s","#,
            r#""data":{"rule":"/default","retryAfter":3}}}"#
        )
    );
    assert_eq!(
        text(unknown_tool(Id("1"), "a\"b")),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: a\"b"}}"#
    );
}

#[test]
fn reasons_are_escaped() {
    let reason = "a\"b\\c\nd\u{0}e\u{7f}\u{85}\u{2028}é😀";
    let reply = text(denied_call(Id("1"), reason, None));
    let read: serde_json::Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(read["result"]["content"][0]["text"], format!("Denied by policy: {reason}"));
    assert!(!reply.contains(['\n', '\u{2028}', '\u{85}']));
    assert_eq!(&as_event(b"{}")[..], b"event: message\ndata: {}\n\n");
}

#[test]
fn answers_in_the_form_that_is_accepted() {
    for (accept, form) in [
        (&["application/json, text/event-stream"][..], Form::Json),
        (&["text/event-stream"], Form::Sse),
        (&["text/event-stream", "application/json"], Form::Json),
        (&["text/event-stream, application/json;q=0"], Form::Sse),
        (&["text/event-stream;q=0.9, Application/JSON; q=0.5"], Form::Json),
        (&["*/*"], Form::Json),
        (&["text/html"], Form::Json),
        (&[], Form::Json),
    ] {
        let headers = accept.iter().map(|v| (ACCEPT, http::HeaderValue::from_static(v))).collect();
        assert_eq!(accepts(&headers), form, "{accept:?}");
    }
}
