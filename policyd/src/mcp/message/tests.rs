use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> (Cause, Option<String>) {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let refused = vet(&mut Parser::new(), &body).map(|m| panic!("accepted {text}: {m:?}")).unwrap_err();
    (refused.cause, refused.id)
}

/// Reads `text`, and gives `read`'s view of it.
fn with<T>(text: &str, read: impl FnOnce(&Message<'_>) -> T) -> T {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let mut parser = Parser::new();
    let message = vet(&mut parser, &body).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    assert_eq!(message.bytes(), body);
    read(&message)
}

#[test]
fn reads_a_call() {
    let text = r#"{"jsonrpc":"2.0","id":"a\u0041","method":"tools\/call","params":{"name":"t\u006fol","arguments":{"x":1.10},
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":1}}}"#;
    with(text, |message| {
        assert_eq!(message.id(), Some(Id(r#""a\u0041""#)));
        assert_eq!(message.method(), Some("tools/call"));
        assert_eq!(message.tool(), Some("tool"));
        assert_eq!(message.arguments().unwrap().raw(), r#"{"x":1.10}"#);
        assert_eq!(message.version(), Some(Version::V2026_07_28));
    });
}

#[test]
fn reads_the_other_kinds() {
    with(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, |message| {
        assert!(matches!(message.kind(), Kind::Notification { params: None, .. }));
        assert_eq!((message.id(), message.tool(), message.version()), (None, None, None));
    });
    with(r#"{"result":{},"id":-7,"jsonrpc":"2.0"}"#, |message| {
        assert!(matches!(message.kind(), Kind::Response { id: Id("-7") }));
    });
    with(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#, |message| {
        assert_eq!(message.version(), Some(Version::V2025_06_18));
    });
    // The name and arguments of another method are no tool's.
    with(r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p","arguments":{}}}"#, |message| {
        assert_eq!((message.tool(), message.arguments().is_some()), (None, false));
    });
    // A method that MCP does not define gives its own keys their meaning.
    with(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"Name":1,"arguments":[]}}"#, |_| ());
}

#[test]
fn refuses_what_is_no_message() {
    let call = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let cases = [
        ("[]".to_owned(), Cause::Batch, None),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.into(), Cause::Batch, None),
        ("1".into(), Cause::NotAnObject, None),
        ("{}".into(), Cause::Version, None),
        (r#"{"id":1,"method":"x"}"#.into(), Cause::Version, Some("1")),
        (r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#.into(), Cause::Version, Some("1")),
        (r#"{"jsonrpc":"2.00","id":1,"method":"x"}"#.into(), Cause::Version, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","extra":0}"#.into(), Cause::UnknownKey, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","Params":{}}"#.into(), Cause::KeyVariant, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","paramſ":{}}"#.into(), Cause::KeyVariant, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","ID":2}"#.into(), Cause::KeyVariant, None),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#.into(), Cause::Hybrid, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","error":{}}"#.into(), Cause::Hybrid, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#.into(), Cause::Hybrid, None),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#.into(), Cause::Hybrid, None),
        (r#"{"jsonrpc":"2.0","id":1}"#.into(), Cause::NoKind, None),
        (r#"{"jsonrpc":"2.0","result":{}}"#.into(), Cause::MissingId, None),
        (r#"{"jsonrpc":"2.0","id":1,"result":[]}"#.into(), Cause::ResultNotObject, None),
        (r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#.into(), Cause::ResultNotObject, None),
        (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#.into(), Cause::BadId, None),
        (r#"{"jsonrpc":"2.0","id":1.0,"method":"x"}"#.into(), Cause::BadId, None),
        (r#"{"jsonrpc":"2.0","id":1e0,"method":"x"}"#.into(), Cause::BadId, None),
        (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#.into(), Cause::BadId, None),
        (r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#.into(), Cause::BadId, None),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"x"}"#.into(), Cause::BadId, None),
        (r#"{"jsonrpc":"2.0","id":1,"method":1}"#.into(), Cause::BadMethod, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#.into(), Cause::BadMethod, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/Call"}"#.into(), Cause::MethodVariant, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call "}"#.into(), Cause::MethodVariant, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000"}"#.into(), Cause::MethodVariant, Some("1")),
        (r#"{"jsonrpc":"2.0","method":"tool\u017f/call"}"#.into(), Cause::MethodVariant, None),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#.into(), Cause::ParamsNotObject, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":null}"#.into(), Cause::ParamsNotObject, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_META":{}}}"#.into(), Cause::KeyVariant, Some("1")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"URI":""}}"#.into(),
            Cause::KeyVariant,
            Some("1"),
        ),
        (call(r#"{"name":"a","arguments":[]}"#), Cause::ArgumentsNotObject, Some("1")),
        (call(r#"{"name":"a","arguments":null}"#), Cause::ArgumentsNotObject, Some("1")),
        (call(r#"{"name":"a","Arguments":{}}"#), Cause::KeyVariant, Some("1")),
        (call(r#"{"name":"a","taſ\u212a":{}}"#), Cause::KeyVariant, Some("1")),
        (call(r#"{"name":"a","NAME":"b"}"#), Cause::KeyVariant, Some("1")),
        (call(r#"{"name":"a","_meta":1}"#), Cause::MetaNotObject, Some("1")),
        (call(r#"{"name":"a","_meta":{"ProgressToken":1}}"#), Cause::KeyVariant, Some("1")),
        (call(r#"{"name":1}"#), Cause::BadToolName, Some("1")),
        (call("{}"), Cause::BadToolName, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.into(), Cause::BadToolName, Some("1")),
        (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#.into(), Cause::CallWithoutId, None),
    ];
    for (text, cause, id) in cases {
        assert_eq!(refused(&text), (cause, id.map(str::to_owned)), "{text}");
    }
}

#[test]
fn gives_the_id_only_when_it_is_certain() {
    let cases = [
        // The fault is elsewhere, and the text keeps to the grammar.
        (r#"{"jsonrpc":"2.0","id":"x","method":"m","params":{"a":1,"a":2}}"#, Cause::DuplicateKey, Some("\"x\"")),
        (r#"{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":"\ud800"}}"#, Cause::LoneSurrogate, Some("5")),
        (r#"{"jsonrpc":"2.0","id":5,"method":"m","params":{"\u0000":1}}"#, Cause::NulInKey, Some("5")),
        // Two ids, an id that readers spell differently, a broken text, a response.
        (r#"{"id":1,"id":2,"jsonrpc":"2.0","method":"m"}"#, Cause::DuplicateKey, None),
        (r#"{"id":1,"\u0069d":2,"jsonrpc":"2.0","method":"m"}"#, Cause::DuplicateKey, None),
        (r#"{"id":"\ud800","jsonrpc":"2.0","method":"m"}"#, Cause::LoneSurrogate, None),
        (r#"{"id":1,"jsonrpc":"2.0","method":"m"}}"#, Cause::TrailingBytes, None),
        (r#"{"id":1,"jsonrpc":"2.0","method":"m""#, Cause::Truncated, None),
        (r#"{"id":1,"jsonrpc":"2.0","result":{"a":1,"a":1}}"#, Cause::DuplicateKey, None),
    ];
    for (text, cause, id) in cases {
        assert_eq!(refused(text), (cause, id.map(str::to_owned)), "{text}");
    }
    let deep = format!(r#"{{"id":9,"jsonrpc":"2.0","method":"m","params":{}{}}}"#, "[".repeat(99), "]".repeat(99));
    assert_eq!(refused(&deep), (Cause::TooDeep, Some("9".to_owned())));
}

#[test]
fn a_request_in_a_result_is_read_as_strictly() {
    let read = |text: &str| {
        let body = Bytes::from(text.to_owned());
        let mut parser = Parser::new();
        let message = vet_input(&mut parser, Id("\"k\""), &body).map_err(|malformed| malformed.cause)?;
        assert_eq!(message.bytes(), body);
        let Kind::Request { id, method, params } = message.kind() else { panic!("{text}") };
        Ok((id.0.to_owned(), method.to_string(), params.map(|params| params.raw().to_owned())))
    };
    let is = |method: &str, params: Option<&str>| Ok(("\"k\"".into(), method.into(), params.map(str::to_owned)));
    assert_eq!(read(r#"{"method":"roots/list"}"#), is("roots/list", None));
    assert_eq!(
        read(r#"{"params":{"message":"m"},"method":"elicitation\/create"}"#),
        is("elicitation/create", Some(r#"{"message":"m"}"#))
    );
    assert_eq!(read(r#"{"jsonrpc":"2.0","id":null,"method":"roots/list"}"#), is("roots/list", None));
    for (text, cause) in [
        ("[]", Cause::NotAnObject),
        ("1", Cause::NotAnObject),
        ("{}", Cause::NoKind),
        (r#"{"result":{}}"#, Cause::Hybrid),
        (r#"{"method":"roots/list","result":{}}"#, Cause::Hybrid),
        (r#"{"jsonrpc":"1.0","method":"roots/list"}"#, Cause::Version),
        (r#"{"method":"roots/list","x":1}"#, Cause::UnknownKey),
        (r#"{"method":"roots/list","Params":{}}"#, Cause::KeyVariant),
        (r#"{"method":"Roots/List"}"#, Cause::MethodVariant),
        (r#"{"method":"elicitation/create","params":{"Message":"m"}}"#, Cause::KeyVariant),
        (r#"{"method":"elicitation/create","params":[]}"#, Cause::ParamsNotObject),
        (r#"{"method":"a","method":"b"}"#, Cause::DuplicateKey),
    ] {
        assert_eq!(read(text), Err(cause), "{text}");
    }
}

#[test]
fn answers_to_what_a_server_needed_to_know_belong_to_one_request() {
    let of = |method: &str, params: &str| {
        let body = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#));
        let mut parser = Parser::new();
        let message = vet(&mut parser, &body).map_err(|malformed| malformed.cause)?;
        Ok((message.subject(), message.input_responses().map(|key| key.into_owned()).collect::<Vec<_>>()))
    };
    let is = |subject: &str, keys: &[&str]| Ok((subject.to_owned(), keys.iter().map(|&key| key.to_owned()).collect()));
    assert_eq!(
        of("tools/call", r#"{"name":"x","inputResponses":{"a":{},"\u0062":{"action":"accept"}},"requestState":"s"}"#),
        is("tools/call x", &["a", "b"])
    );
    assert_eq!(of("tools/call", r#"{"name":"x","inputResponses":null}"#), is("tools/call x", &[]));
    assert_eq!(of("resources/read", r#"{"uri":"u"}"#), is("resources/read u", &[]));
    assert_eq!(of("tasks/get", r#"{"taskId":"t"}"#), is("tasks t", &[]));
    assert_eq!(of("tasks/update", r#"{"taskId":"t","inputResponses":{"k":{}}}"#), is("tasks t", &["k"]));
    assert_eq!(of("acme/do", r#"{"inputResponses":{"k":{}}}"#), is("acme/do ", &["k"]));
    for (method, params, cause) in [
        ("tools/call", r#"{"name":"x","inputResponses":[]}"#, Cause::BadInputs),
        ("acme/do", r#"{"inputResponses":1}"#, Cause::BadInputs),
        ("acme/do", r#"{"InputResponses":{}}"#, Cause::KeyVariant),
        ("tasks/update", r#"{"taskID":"t"}"#, Cause::KeyVariant),
    ] {
        assert_eq!(of(method, params), Err(cause), "{method} {params}");
    }
}

#[test]
fn causes_have_words_of_their_own() {
    let mut words: Vec<_> = Cause::ALL.iter().map(|c| c.word()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Cause::ALL.len());
    assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')));
}

proptest! {
    /// A message made of odd members, in any order: never a panic, and an accepted one has what its kind promises.
    #[test]
    fn any_envelope_is_read_or_refused(members in prop::collection::vec(prop::sample::select(vec![
        r#""jsonrpc":"2.0""#, r#""jsonrpc":2"#, r#""id":1"#, r#""id":"a""#, r#""id":null"#, r#""method":"tools/call""#,
        r#""method":"ping""#, r#""params":{"name":"t"}"#, r#""params":{}"#, r#""params":[]"#, r#""result":{}"#, r#""error":{}"#,
        r#""Method":"ping""#, r#""x":0"#,
    ]), 0..7)) {
        let body = Bytes::from(format!("{{{}}}", members.join(",")));
        let mut parser = Parser::new();
        if let Ok(message) = vet(&mut parser, &body) {
            prop_assert!(members.contains(&r#""jsonrpc":"2.0""#));
            match message.kind() {
                Kind::Request { method, .. } => prop_assert_eq!(method == "tools/call", message.tool() == Some("t")),
                Kind::Notification { method, .. } => prop_assert_eq!(method, "ping"),
                Kind::Response { .. } => prop_assert!(message.method().is_none()),
            }
        }
    }
}
