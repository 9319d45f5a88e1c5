//! Any bytes as a policy document: a policy or a report with places inside of the text, and no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policyd::policy::Policy;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Policy::load("policy.json", text) {
        Ok(policy) => {
            let names: Vec<String> = policy.named_tools().map(str::to_owned).collect();
            for name in names.iter().map(String::as_str).chain(["", "a", text]) {
                assert!(
                    policy.filters_lists() || !policy.unlists(name),
                    "`{name}` is left out of lists that are not read"
                );
            }
        }
        Err(report) => {
            assert!(!report.diagnostics.is_empty());
            for problem in &report.diagnostics {
                assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
            }
            assert!(report.render(false).contains("policy.json"));
        }
    }
});
