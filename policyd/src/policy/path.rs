//! Plain paths into a call's arguments: `args.amount`, `args.order.total`, `args["a.b"]`.

/// A path of object keys below a call's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(Box<[Box<str>]>);

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Nothing.
    Absent,
    /// Something else than a number.
    Other,
    /// A number: its JSON text.
    Number(&'a str),
}

impl Path {
    /// Reads a path, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Path, String> {
        let Some(mut rest) = text.strip_prefix("args") else {
            return Err(format!("the path `{text}` does not start with `args`"));
        };
        let mut keys: Vec<Box<str>> = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[', ']', '"']).unwrap_or(after.len());
                let (key, after) = after.split_at(end);
                if key.is_empty() {
                    return Err(format!("the path `{text}` has an empty name in it"));
                }
                keys.push(key.into());
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let mut strings = serde_json::Deserializer::from_str(after).into_iter::<String>();
                let Some(Ok(key)) = strings.next() else {
                    return Err(format!("the path `{text}` may hold only names: `.name` or `[\"name\"]`"));
                };
                let Some(after) = after.get(strings.byte_offset()..).and_then(|after| after.strip_prefix(']')) else {
                    return Err(format!("the path `{text}` lacks a closing `]`"));
                };
                keys.push(key.into());
                rest = after;
            } else {
                return Err(format!("the path `{text}` may hold only names: `.name` or `[\"name\"]`"));
            }
        }
        if keys.is_empty() {
            return Err(format!("the path `{text}` names no argument"));
        }
        Ok(Path(keys.into()))
    }

    /// The keys, outermost first; at least one.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| &**key)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_paths() {
        for (text, keys) in [
            ("args.amount", &["amount"][..]),
            ("args.order.total", &["order", "total"]),
            (r#"args["a.b"].c"#, &["a.b", "c"]),
            (r#"args["\u0061]"]"#, &["a]"]),
            (r#"args[""]"#, &[""]),
        ] {
            let path = Path::parse(text).expect(text);
            assert_eq!(path.keys().collect::<Vec<_>>(), keys, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "amount",
            "args",
            "argsamount",
            "args.",
            "args..x",
            "args.x.",
            "args[0]",
            "args[]",
            "args[\"x\"",
            "args[\"x\"y]",
            "args.x]",
            "args.x\"",
            "grant.name",
        ] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }
}
