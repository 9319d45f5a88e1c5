//! JUnit XML, as CI systems read it: <https://github.com/testmoapp/junitxml>.

use super::{CaseResult, render};
use crate::diagnostic::Places;

/// A suite that ran.
pub(crate) struct Ran<'a> {
    /// The test file's name, and its text.
    pub file: &'a str,
    pub source: &'a str,
    /// The policy's path.
    pub policy: &'a str,
    pub cases: &'a [CaseResult],
}

/// The report of all suites.
pub(crate) fn junit(suites: &[Ran<'_>]) -> String {
    let failed = |cases: &[CaseResult]| cases.iter().filter(|case| !case.failures.is_empty()).count();
    let tests: usize = suites.iter().map(|suite| suite.cases.len()).sum();
    let failures: usize = suites.iter().map(|suite| failed(suite.cases)).sum();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.push_str(&format!(
        "<testsuites name=\"policyd policy test\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"0\">\n"
    ));
    for suite in suites {
        let (file, policy) = (escaped(suite.file), escaped(suite.policy));
        xml.push_str(&format!(
            "  <testsuite name=\"{policy}\" file=\"{file}\" tests=\"{}\" failures=\"{}\" errors=\"0\" time=\"0\">\n",
            suite.cases.len(),
            failed(suite.cases)
        ));
        let places = Places::of(suite.source);
        for case in suite.cases {
            let (line, _) = places.line_column(case.span.start);
            xml.push_str(&format!(
                "    <testcase name=\"{}\" classname=\"{policy}\" file=\"{file}\" line=\"{line}\" time=\"0\"",
                escaped(&case.name)
            ));
            match case.failures.first() {
                None => xml.push_str("/>\n"),
                Some(first) => {
                    let text = render(suite.file, &places, case, false);
                    xml.push_str(&format!(
                        ">\n      <failure type=\"decision\" message=\"{}\">{}</failure>\n    </testcase>\n",
                        escaped(&first.message),
                        escaped(text.trim_end())
                    ));
                }
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// As text or the value of an attribute. What XML 1.0 cannot hold (section 2.2) becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push('\n'),
            '\t' => escaped.push_str("&#9;"),
            c if c.is_control() && c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
