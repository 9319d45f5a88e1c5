use super::*;

mod decisions;
mod refused;

fn imported(yaml: &str) -> Imported {
    import("intercept.yaml", yaml, Scope::Server).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn refused(yaml: &str) -> String {
    match import("intercept.yaml", yaml, Scope::Server) {
        Ok(imported) => panic!("carried over:\n{}", imported.policy),
        Err(report) => report.to_string(),
    }
}

/// Everything that a shop's policy can say there.
const SHOP: &str = r#"# A shop.
version: "1"
description: Orders, refunds and stock
default: deny
hide: [erase_shop, audit.export]
tools:
  place_order:
    rules:
      - name: order size
        conditions:
          - { path: args.total, op: lte, value: 400.50 }
          - { path: args.lines, op: exists, value: true }
        on_deny: "Orders over 400.50 need a person."
      - name: known countries
        conditions:
          - path: args.ship_to.country
            op: in
            value: [no, se, DK]
      - name: week's budget, by the day
        conditions:
          - path: state.place_order.spent
            op: lt
            value: 9000
        state:
          counter: spent
          window: day
          increment_from: args.total
        on_deny: Budget spent.
      - name: per hour
        rate_limit: 12/hour
  refund:
    rules:
      - name: reference
        conditions:
          - path: args.reference
            op: regex
            value: '^\w+-\d{4}$'
          - path: args.note
            op: contains
            value: order
          - path: "args.meta[0].kind"
            op: neq
            value: "7"
      - name: in threes
        conditions:
          - path: args.kind
            op: not_in
            value: [test, null]
          - path: state.refund.points
            op: lte
            value: 10
        state: { counter: points, window: minute, increment: 3 }
  close_shop:
    rules:
      - name: never
        action: deny
        on_deny: "Not by an agent."
  list_stock:
    rules: []
  count_stock:
  "*":
    rules:
      - name: all calls
        rate_limit: 90/minute
        on_deny: Slow down.
      - name: signed
        conditions:
          - path: args.agent
            op: exists
            value: true
"#;

#[test]
fn what_means_the_same_is_carried_over() {
    let imported = imported(SHOP);
    insta::assert_snapshot!(imported.policy, @r##"
    {
      "version": "1",
      "description": "Orders, refunds and stock",
      "default": "deny",
      "hide": ["erase_shop", "audit.export"],
      "all_tools": {
        "require": [
          { "conditions": [{ "path": "args.agent", "op": "exists", "value": true }], "name": "signed" }
        ],
        "limits": [
          {
            "counter": "_global._rate_minute",
            "window": "minute",
            "max": 90,
            "scope": "server",
            "align": "calendar",
            "on_deny": "Slow down."
          }
        ]
      },
      "tools": {
        "place_order": {
          "require": [
            {
              "conditions": [
                { "path": "args.total", "op": "lte", "value": 400.50 },
                { "path": "args.lines", "op": "exists", "value": true }
              ],
              "on_deny": "Orders over 400.50 need a person.",
              "name": "order size"
            },
            {
              "conditions": [
                { "path": "args.ship_to.country", "op": "in", "value": ["no", "se", "DK"] }
              ],
              "name": "known countries"
            }
          ],
          "limits": [
            {
              "counter": "place_order.spent",
              "window": "day",
              "max": 8999,
              "scope": "server",
              "align": "calendar",
              "increment_from": "args.total",
              "on_deny": "Budget spent."
            },
            {
              "counter": "place_order._rate_hour",
              "window": "hour",
              "max": 12,
              "scope": "server",
              "align": "calendar"
            }
          ]
        },
        "refund": {
          "require": [
            {
              "conditions": [
                { "path": "args.reference", "op": "regex", "value": "^[0-9A-Za-z_]+-[0-9]{4}$" },
                { "path": "args.note", "op": "contains", "value": "order" },
                { "path": "args.note", "op": "type", "value": ["string", "array"] },
                { "path": "args[\"meta[0]\"].kind", "op": "not_in", "value": ["7", 7] }
              ],
              "name": "reference"
            },
            {
              "conditions": [{ "path": "args.kind", "op": "not_in", "value": ["test", null, "<nil>"] }],
              "name": "in threes"
            }
          ],
          "limits": [
            {
              "counter": "refund.points",
              "window": "minute",
              "max": 3,
              "scope": "server",
              "align": "calendar"
            }
          ]
        },
        "close_shop": { "action": "deny", "reason": "Not by an agent." },
        "list_stock": {},
        "count_stock": {}
      }
    }
    "##);
    insta::assert_snapshot!(imported.notes.render(false), @r##"
    note: numbers are compared exactly, by their decimal value
      --> intercept.yaml:11:49
       |
    11 |           - { path: args.total, op: lte, value: 400.50 }
       |                                                 ^^^^^^
       |
       = help: there as 64-bit floats, which take neighbouring numbers of more than 15 digits for equal: with such numbers either may allow what the other refuses

    note: the name of a rule that became a limit is not kept (here and in 2 places more)
      --> intercept.yaml:19:9
       |
    19 |       - name: week's budget, by the day
       |         ^
       |
       = help: records here name a rule by its place in the policy

    note: a call that the server answers with an error uses its limits (here and in 3 places more)
      --> intercept.yaml:25:11
       |
    25 |           counter: spent
       |           ^
       |
       = help: there what it used is given back; here only for a call that was never sent whole

    note: an amount counts with its fraction, and a negative one is refused
      --> intercept.yaml:25:11
       |
    25 |           counter: spent
       |           ^
       |
       = help: there the fraction is cut off, and a negative amount gives quota back

    note: an argument that is null is refused by `neq` and `not_in`
      --> intercept.yaml:43:20
       |
    43 |             value: "7"
       |                    ^^^
       |
       = help: there null is one more value that is not equal

    note: a counter counts calls, and not by `increment`
      --> intercept.yaml:52:16
       |
    52 |         state: { counter: points, window: minute, increment: 3 }
       |                ^
       |
       = help: its bound is divided instead, which admits the same calls

    intercept.yaml: 6 notes
    "##);
}

#[test]
fn the_least_policy_allows() {
    let imported = imported("version: 1\ntools: {}\n");
    assert_eq!(imported.policy, "{\n  \"version\": \"1\",\n  \"default\": \"allow\",\n  \"tools\": {}\n}\n");
    assert_eq!(imported.notes.diagnostics, []);
}

#[test]
fn a_rule_for_all_that_denies_denies_all() {
    let imported = imported(
        "version: '1'\nhide: ['*']\ntools:\n  '*':\n    rules: [{ name: stop, action: deny, on_deny: Closed. }]\n",
    );
    insta::assert_snapshot!(imported.policy, @r##"
    {
      "version": "1",
      "default": "allow",
      "hide": ["*"],
      "all_tools": { "deny_if": [{ "conditions": [], "on_deny": "Closed.", "name": "stop" }] },
      "tools": {}
    }
    "##);
}

#[test]
fn counters_are_of_the_scope_that_is_asked_for() {
    let yaml = "version: '1'\ntools: { t: { rules: [{ name: n, rate_limit: 007/day }] } }\n";
    for (scope, word) in [(Scope::Grant, "grant"), (Scope::Server, "server"), (Scope::Host, "host")] {
        let policy = import("p", yaml, scope).unwrap().policy;
        assert!(policy.contains("\"max\": 7,") && policy.contains(&format!("\"scope\": \"{word}\"")), "{policy}");
    }
}
