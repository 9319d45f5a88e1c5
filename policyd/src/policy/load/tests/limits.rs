//! What a limit can say: its scope, its alignment, what it adds, and `rate_limit` in one word.

use super::{entry, limit, problems};

/// The problems of a limit of a day, with these keys besides.
fn with(rest: &str) -> String {
    limit(&format!("{{ \"counter\": \"c\", \"max\": 1, \"window\": \"day\",\n{rest} }}"))
}

#[test]
fn every_scope_has_its_word() {
    for scope in ["grant", "session", "server", "host", "global"] {
        assert_eq!(with(&format!("\"scope\": \"{scope}\"")), "loads", "{scope}");
    }
    let words = "expected `grant`, `session`, `server`, `host` or `global`";
    assert_eq!(with(r#""scope": "hosts""#), format!("p:4:10: {words}, found `hosts` (did you mean `host`?)"));
    assert_eq!(with(r#""scope": "agent""#), format!("p:4:10: {words}, found `agent`"));
    assert_eq!(with(r#""scope": null"#), format!("p:4:10: {words}, found null"));
    assert_eq!(with(r#""scope": ["grant"]"#), format!("p:4:10: {words}, found an array"));
}

#[test]
fn a_window_that_divides_the_day_can_be_aligned() {
    for window in ["second", "minute", "hour", "day", "1d", "24h", "6h", "90s", "15m", "32s", "86400s"] {
        let text = format!(r#"{{ "counter": "c", "max": 1, "align": "calendar", "window": "{window}" }}"#);
        assert_eq!(limit(&text), "loads", "{window}");
    }
    for window in ["7s", "7m", "5h", "25h", "2d", "7d", "86401s"] {
        let text = format!(r#"{{ "counter": "c", "max": 1, "align": "calendar", "window": "{window}" }}"#);
        let message = "60: this window cannot be aligned with the calendar (a window that divides a day, such as \
                       `minute`, `hour`, `6h` or `day`)";
        assert_eq!(limit(&text), message, "{window}");
        let rolling = text.replace("calendar", "rolling");
        assert_eq!(limit(&rolling), "loads", "{window}");
    }
    let words = "expected `rolling` or `calendar`";
    assert_eq!(with(r#""align": "calender""#), format!("p:4:10: {words}, found `calender` (did you mean `calendar`?)"));
    assert_eq!(with(r#""align": true"#), format!("p:4:10: {words}, found a boolean"));
}

#[test]
fn an_amount_comes_from_one_argument() {
    for path in ["args.amount", "args.items[0].price", "args.rows[2][0]", r#"args[\"a.b\"]"#] {
        assert_eq!(with(&format!("\"increment_from\": \"{path}\"")), "loads", "{path}");
    }
    let help = "(a path to one of the arguments, such as `args.amount`)";
    for path in ["args.items[].price", "grant.name", "identity.uid"] {
        let message = format!("p:4:19: the path `{path}` does not lead to one argument {help}");
        assert_eq!(with(&format!("\"increment_from\": \"{path}\"")), message);
    }
    let message = format!("p:4:19: the path `amount` does not start with `args` {help}");
    assert_eq!(with(r#""increment_from": "amount""#), message);
}

#[test]
fn limits_on_one_counter_may_differ_in_all_but_what_they_add() {
    let two = |first: &str, second: &str| {
        let one = |rest: &str| format!(r#"{{ "counter": "c", "max": 1, {rest} }}"#);
        limit(&format!("{},\n{}", one(first), one(second)))
    };
    assert_eq!(two(r#""window": "day""#, r#""window": "day", "align": "calendar""#), "loads");
    assert_eq!(two(r#""window": "day""#, r#""window": "90s""#), "loads");
    // One path, written in two ways.
    let same = r#""window": "day", "increment_from": "args[\"amount\"]""#;
    assert_eq!(two(r#""window": "day", "increment_from": "args.amount""#, same), "loads");
    let other = r#""window": "day", "increment_from": "args.amount[0]""#;
    assert!(two(same, other).contains("must agree on `increment_from`"));
    // A path that is wrong says so, and nothing of the other limit.
    let wrong = two(r#""window": "day", "increment_from": "amount""#, other);
    assert!(wrong.contains("does not start with `args`") && !wrong.contains("must agree"), "{wrong}");
}

#[test]
fn counters_are_compared_over_the_whole_document() {
    let text = r#"{ "version": "1", "default": "deny",
"all_tools": { "limits": [ { "counter": "c", "window": "day", "max": 1 } ] },
"tools": { "t": { "limits": [ { "counter": "c", "window": "day", "max": 1, "increment_from": "args.a" } ] } },
"methods": { "prompts/get": { "limits": [ { "counter": "c", "window": "day", "max": 2 } ] } } }"#;
    assert_eq!(
        problems(text),
        "p:3:94: this limit adds `args.a`, another one on counter `c` counts calls (two limits on one counter must \
         agree on `increment_from`; rename one of the counters)"
    );
}

#[test]
fn a_rate_is_a_number_and_a_window() {
    for rate in ["10/minute", "0/day", "1/second", "5/90s", "100000/2h", "007/hour"] {
        assert_eq!(entry(&format!(r#"{{ "rate_limit": "{rate}" }}"#)), "loads", "{rate}");
    }
    for rate in [
        "",
        "/",
        "10",
        "10/",
        "/minute",
        "10/minutes",
        "10 /minute",
        "10/ minute",
        "-1/minute",
        "+1/minute",
        "1.5/minute",
        "1e3/minute",
        "10/0s",
        "10/367d",
        "10/minute/2",
        "10/60",
        "79228162514264337593543950336/day",
        "\u{661}/minute",
        "10\u{2044}minute",
    ] {
        let message = "p:2:17: this is no rate (a number and a window, such as `10/minute` or `5/90s`)";
        assert_eq!(entry(&format!(r#"{{ "rate_limit": "{rate}" }}"#)), message, "{rate}");
    }
    for (window, loads) in
        [("1e-9", true), ("1e-10", false), ("60.000000001", true), ("1.0000000000000000000000000001", false)]
    {
        let text = format!(r#"{{ "rate_limit": {{ "max": 1, "window": {window} }} }}"#);
        assert_eq!(entry(&text) == "loads", loads, "{window}");
    }
    // In an array or an object it is no rate either.
    assert_eq!(
        entry(r#"{ "rate_limit": 10 }"#),
        "p:2:17: `rate_limit` must be an object, or a rate such as `\"10/minute\"`, found a number"
    );
}
