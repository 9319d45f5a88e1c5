//! Keys that an object holds twice. Never quadratic in what an attacker sends: beyond a few keys they are sorted.

use std::borrow::Cow;

use super::super::Cause;
use super::{Error, Node, Parser, string};

/// Up to this many keys, comparing each with each is cheaper than sorting.
const FEW: usize = 8;

impl Parser {
    /// Looks through the keys of the object whose node is `object` and that has just been closed.
    #[inline]
    pub(super) fn refuse_duplicates(&mut self, text: &str, object: u32) -> Result<(), Error> {
        let nodes = &self.nodes;
        let mut few = [0_u32; FEW];
        let mut count = 0;
        let mut escaped = false;
        let mut key = object + 1;
        while (key as usize) < nodes.len() && count < FEW {
            escaped |= nodes[key as usize].escaped;
            few[count] = key;
            count += 1;
            key = nodes[key as usize + 1].next;
        }
        if (key as usize) < nodes.len() {
            self.keys.clear();
            let mut key = object + 1;
            while (key as usize) < nodes.len() {
                self.keys.push(key);
                key = nodes[key as usize + 1].next;
            }
            return self.refuse_among_many(text);
        }
        if escaped {
            self.keys.clear();
            self.keys.extend_from_slice(&few[..count]);
            return self.refuse_among_many(text);
        }
        for (index, &later) in few[..count].iter().enumerate().skip(1) {
            let node = &nodes[later as usize];
            let same = |other: &Node| other.mark == node.mark && bytes(text, other) == bytes(text, node);
            if few[..index].iter().any(|&k| same(&nodes[k as usize])) {
                return Err(duplicate(node.start));
            }
        }
        Ok(())
    }

    /// Sorts `self.keys` by length and content. By content, not by a hash: nothing to collide on purpose.
    #[cold]
    fn refuse_among_many(&mut self, text: &str) -> Result<(), Error> {
        let nodes = &self.nodes;
        if self.keys.iter().any(|&k| nodes[k as usize].escaped) {
            let meant = |&k: &u32| {
                let node = &nodes[k as usize];
                let raw = raw(text, node);
                (if node.escaped { string::unescape(raw) } else { Cow::Borrowed(raw) }, node.start)
            };
            let mut keys: Vec<(Cow<'_, str>, u32)> = self.keys.iter().map(meant).collect();
            keys.sort_unstable();
            return first_pair(&keys, |key| key.0.as_ref(), |key| key.1);
        }
        self.keys.sort_unstable_by(|&a, &b| {
            let (a, b) = (&nodes[a as usize], &nodes[b as usize]);
            (a.end - a.start)
                .cmp(&(b.end - b.start))
                .then_with(|| raw(text, a).cmp(raw(text, b)))
                .then(a.start.cmp(&b.start))
        });
        first_pair(&self.keys, |&k| raw(text, &nodes[k as usize]), |&k| nodes[k as usize].start)
    }
}

/// The inside of a string, escapes and all.
fn raw<'t>(text: &'t str, node: &Node) -> &'t str {
    &text[node.start as usize + 1..node.end as usize - 1]
}

/// The same as bytes: comparing for equality needs no character boundaries.
#[inline]
fn bytes<'t>(text: &'t str, node: &Node) -> &'t [u8] {
    &text.as_bytes()[node.start as usize + 1..node.end as usize - 1]
}

fn first_pair<'k, K>(sorted: &'k [K], name: impl Fn(&'k K) -> &'k str, start: impl Fn(&K) -> u32) -> Result<(), Error> {
    match sorted.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
        Some(pair) => Err(duplicate(start(&pair[1]))),
        None => Ok(()),
    }
}

fn duplicate(start: u32) -> Error {
    Error { cause: Cause::DuplicateKey, at: start as usize }
}
