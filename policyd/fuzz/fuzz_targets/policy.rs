//! Any bytes as a policy document: a policy or a report with places inside of the text, and no panic. What can be read can be
//! laid out, means the same then, and stays as it is when it is laid out again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policyd::authoring::format::{Layout, format};
use policyd::capture::identity::Identity;
use policyd::diagnostic::Report;
use policyd::policy::{Lister, Policy};

fn check(report: &Report, text: &str) {
    assert!(!report.diagnostics.is_empty());
    for problem in &report.diagnostics {
        assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
    }
    assert!(report.render(false).contains("policy.json"));
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let loaded = Policy::load("policy.json", text);
    let laid_out = format("policy.json", text, Layout::Policy);
    match (&loaded, &laid_out) {
        (Ok(policy), Ok(laid_out)) => {
            let identity = Identity::default();
            let lister = Lister { grant: "grant", server: "server", identity: &identity, schemas: &() };
            let same = Policy::load("policy.json", laid_out).unwrap_or_else(|report| panic!("{report}\n{laid_out}"));
            let names: Vec<String> = policy.named_tools().map(str::to_owned).collect();
            for name in names.iter().map(String::as_str).chain(["", "a", text]) {
                assert!(
                    policy.filters_lists() || !policy.unlists(name, &lister),
                    "`{name}` is left out of lists that are not read"
                );
                assert_eq!(policy.unlists(name, &lister), same.unlists(name, &lister), "{name}");
            }
        }
        (Ok(_), Err(report)) => panic!("{report}"),
        (Err(report), _) => check(report, text),
    }
    match &laid_out {
        Ok(once) => {
            assert_eq!(format("policy.json", once, Layout::Policy).as_ref(), Ok(once));
            assert_eq!(loaded.is_ok(), Policy::load("policy.json", once).is_ok(), "{once}");
        }
        Err(report) => check(report, text),
    }
});
