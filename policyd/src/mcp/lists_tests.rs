use proptest::prelude::*;

use super::*;

/// Filters with every tool whose name starts with `x` refused; gives the text that is forwarded.
fn filtered(text: &str) -> Result<String, Cause> {
    let refuse = |_: List, name: &str| name.starts_with('x');
    match filter(&mut Parser::new(), text.as_bytes(), refuse, |_| ()) {
        Ok(Filtered::Unchanged) => Ok(text.to_owned()),
        Ok(Filtered::Edited { text, .. }) => Ok(text),
        Err(error) => Err(error.cause),
    }
}

fn list(tools: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}],"nextCursor":""}}}}"#)
}

#[test]
fn leaves_out_refused_tools_and_nothing_else() {
    for (tools, kept) in [
        ("", ""),
        (r#"{"name":"a"}"#, r#"{"name":"a"}"#),
        (r#" {"name":"x"} "#, "  "),
        (r#"{"name":"x"},{"name":"a"}"#, r#"{"name":"a"}"#),
        (r#"{"name":"a"},{"name":"x"}"#, r#"{"name":"a"}"#),
        (r#"{"name":"a"} , {"name":"x"} ,{"name":"b","n":1.0}"#, r#"{"name":"a"} ,{"name":"b","n":1.0}"#),
        (r#"{"name":"x"},{"name":"xx"}, {"name":"a"},{"name":"xxx"}"#, r#"{"name":"a"}"#),
        (r#"{"name":"\u0078"},{"name":"xx"}"#, ""),
    ] {
        assert_eq!(filtered(&list(tools)), Ok(list(kept)), "{tools}");
    }
}

#[test]
fn a_filtered_list_is_private() {
    let result = |rest: &str| format!(r#"{{"result":{{{rest}}}}}"#);
    for (before, after) in [
        (r#""cacheScope" : "public","tools":[{"name":"x"}]"#, r#""cacheScope" : "private","tools":[]"#),
        (r#""tools":[{"name":"x"}],"ttlMs":5"#, r#""tools":[],"ttlMs":5,"cacheScope":"private""#),
        (r#""cacheScope":"public","tools":[{"name":"a"}]"#, r#""cacheScope":"public","tools":[{"name":"a"}]"#),
    ] {
        assert_eq!(filtered(&result(before)), Ok(result(after)));
    }
}

#[test]
fn filters_whatever_the_id_and_each_of_a_batch() {
    let no_id = r#"{"result":{"tools":[{"name":"x"}]}}"#;
    assert_eq!(filtered(no_id).unwrap(), r#"{"result":{"tools":[]}}"#);
    assert_eq!(
        filtered(&format!(" [{no_id}, 1,{no_id}]")).unwrap(),
        r#"[{"result":{"tools":[]}}, 1,{"result":{"tools":[]}}]"#
    );
}

#[test]
fn every_list_is_filtered_by_what_names_its_entries() {
    let text = concat!(
        r#"{"result":{"resources":[{"uri":"x","name":"a"},{"uri":"a","name":"x"}],"#,
        r#""resourceTemplates":[{"uriTemplate":"a{x}"},{"uriTemplate":"x{a}"}],"#,
        r#""prompts":[{"name":"x"}],"tools":[{"name":"x"},{"name":"a"}],"nextCursor":"x"}}"#
    );
    let mut asked = Vec::new();
    let filtered = filter(
        &mut Parser::new(),
        text.as_bytes(),
        |list, name| {
            asked.push((list, name.to_owned()));
            name.starts_with('x')
        },
        |tool| assert!(tool.is_none_or(|(name, tool)| tool.get("name").unwrap().is_str(name))),
    );
    let Filtered::Edited { text, removed } = filtered.unwrap() else { panic!("unchanged") };
    let expected = concat!(
        r#"{"result":{"resources":[{"uri":"a","name":"x"}],"resourceTemplates":[{"uriTemplate":"a{x}"}],"#,
        r#""prompts":[],"tools":[{"name":"a"}],"nextCursor":"x"}}"#
    );
    assert_eq!((&*text, removed), (expected, 4));
    assert_eq!(asked.iter().filter(|(list, _)| *list == List::Templates).count(), 2);
    assert!(asked.contains(&(List::Resources, "x".to_owned())) && asked.contains(&(List::Prompts, "x".to_owned())));
}

#[test]
fn other_messages_stay() {
    for text in
        [r#"{"result":{"tools":1}}"#, r#"{"error":{"code":1}}"#, r#"{"method":"m","params":{"tools":[1]}}"#, "7", "[]"]
    {
        assert_eq!(filtered(text).as_deref(), Ok(text));
    }
}

#[test]
fn refuses_what_could_be_read_otherwise() {
    for (text, cause) in [
        (r#"{"result":{"tools":[],"tools":[]}}"#, Cause::DuplicateKey),
        (r#"{"result":{"Tools":[]}}"#, Cause::KeyVariant),
        (r#"{"Result":{}}"#, Cause::KeyVariant),
        (r#"{"result":{"tools":[{"name":"a","Name":"x"}]}}"#, Cause::KeyVariant),
        (r#"{"result":{"tools":[{}]}}"#, Cause::BadToolList),
        (r#"{"result":{"tools":["x"]}}"#, Cause::BadToolList),
        (r#"{"result":{"tools":[{"name":1}]}}"#, Cause::BadToolList),
        (r#"{"result":{"prompts":[{"title":"x"}]}}"#, Cause::BadList),
        (r#"{"result":{"resources":[{"name":"x"}]}}"#, Cause::BadList),
        (r#"{"result":{"resourceTemplates":[{"uri":"x"}]}}"#, Cause::BadList),
        (r#"{"result":{"resources":[{"uri":"a","URI":"x"}]}}"#, Cause::KeyVariant),
        (r#"{"result":{"ResourceTemplates":[]}}"#, Cause::KeyVariant),
        ("{", Cause::Truncated),
        ("{}\n{}", Cause::TrailingBytes),
    ] {
        assert_eq!(filtered(text), Err(cause), "{text}");
    }
}

proptest! {
    #[test]
    fn what_stays_keeps_its_bytes(names in prop::collection::vec("[ax][a-z]{0,3}", 0..8), space in "[ \n\t]{0,3}") {
        let entry = |name: &String| format!(r#"{{"n":1.50,{space}"name":"{name}"}}"#);
        let all: Vec<String> = names.iter().map(entry).collect();
        let text = list(&all.join(&format!("{space},{space}")));
        let mut told = Vec::new();
        let outcome = filter(&mut Parser::new(), text.as_bytes(), |_, name| name.starts_with('x'), |tool| {
            let Some((name, tool)) = tool else { return };
            assert!(tool.get("name").unwrap().is_str(name));
            told.push(name.to_owned());
        });
        prop_assert_eq!(&told, &names);
        let (edited, removed) = match outcome.unwrap() {
            Filtered::Unchanged => (text.clone(), 0),
            Filtered::Edited { text, removed } => (text, removed),
        };
        let kept: Vec<String> = names.iter().filter(|n| !n.starts_with('x')).map(entry).collect();
        prop_assert_eq!(removed, names.len() - kept.len());
        let read: serde_json::Value = serde_json::from_str(&edited).unwrap();
        prop_assert_eq!(read["result"]["tools"].as_array().unwrap().len(), kept.len());
        let squeeze = |s: &str| s.replace([' ', '\n', '\t'], "");
        prop_assert_eq!(squeeze(&edited), squeeze(&list(&kept.join(","))));
        prop_assert!(kept.iter().all(|entry| edited.contains(entry.as_str())));
    }
}

#[test]
fn knows_what_no_reader_takes_for_a_message() {
    for text in ["{", " \n{\"a\":NaN}", "\u{feff}{}", "[{", "[ \t{\"a\":1,\"a\":2}]", "\0{\0"] {
        assert!(may_be_message(text.as_bytes()), "{text}");
    }
    for text in ["", " ", "[DONE]", "/messages?sessionId=1", "<html>{", "ping", "[[{}]]", "\"{\""] {
        assert!(!may_be_message(text.as_bytes()), "{text}");
    }
}

#[test]
fn whatever_could_spell_a_list_is_read() {
    for text in [
        r#"{"result":{"tools":[]}}"#,
        r#"{"result":{"TOOLS":[]}}"#,
        r#"{"result":{"Prompts":[]}}"#,
        r#"{"a":"\"","result":{"resources":[]}}"#,
        r#"{"result":{"resourceTemplates":[]}}"#,
        r#"{"result":{"\u0074ools":[]}}"#,
        r#"{"result":{"too\u006cs":[]}}"#,
        r#"{"result":{"too\\\u006cs":[]}}"#,
        "{\"result\":{\"tool\u{17f}\":[]}}",
        "{\0\"\0t\0o\0o\0l\0s\0\"\0",
    ] {
        assert!(may_hold_list(text.as_bytes()), "{text}");
    }
    for text in
        ["", "t", "too", r#"{"result":{"content":[{"type":"text","text":"done"}]}}"#, r#"{"a":"C:\\users, tools"}"#]
    {
        assert!(!may_hold_list(text.as_bytes()), "{text}");
    }
}

proptest! {
    #[test]
    fn a_text_that_is_not_read_holds_nothing_to_filter(key in r#"(t|o|l|s|T|O|\\|u0074|u006C|"|x){0,12}"#) {
        let list = format!(r#"{{"result":{{"{key}":[{{"name":"x"}}]}}}}"#);
        if !may_hold_list(list.as_bytes()) {
            prop_assert!(filtered(&list).is_err() || filtered(&list) == Ok(list.clone()));
        }
    }
}
