//! The outer names of Encrypted Client Hello, read from a name's HTTPS record. Pure.

/// The version of ECH configurations (RFC 9849, section 4).
const VERSION: u16 = 0xfe0d;

/// The public names of an `ECHConfigList` as DNS carries it (RFC 9848): what a ClientHello for the protected name would
/// say outside. Lower case. Configurations of another version, and whatever is cut off, are skipped.
pub fn public_names(list: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some(mut rest) = vector(list).map(|(configs, _)| configs) else { return names };
    while let [high, low, content @ ..] = rest {
        let Some((config, after)) = vector(content) else { break };
        rest = after;
        if u16::from_be_bytes([*high, *low]) == VERSION
            && let Some(name) = public_name(config)
            && let Some(name) = super::hello::dns_name(name)
        {
            names.push(name);
        }
    }
    names
}

/// `config_id` (1), `kem_id` (2), `public_key` <2>, `cipher_suites` <2>, `maximum_name_length` (1), `public_name` <1>.
fn public_name(config: &[u8]) -> Option<&str> {
    let (_key, rest) = vector(config.get(3..)?)?;
    let (_suites, rest) = vector(rest)?;
    let (length, rest) = rest.get(1..)?.split_first()?;
    str::from_utf8(rest.get(..usize::from(*length))?).ok()
}

/// A vector with a length of two bytes, and what follows it.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn list(configs: &[(u16, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (version, name) in configs {
            let mut config = vec![7, 0, 0x20, 0, 4, 1, 2, 3, 4, 0, 4, 0, 1, 0, 1, 0];
            config.push(u8::try_from(name.len()).unwrap());
            config.extend_from_slice(name.as_bytes());
            config.extend_from_slice(&[0, 0]);
            body.extend_from_slice(&version.to_be_bytes());
            body.extend_from_slice(&u16::try_from(config.len()).unwrap().to_be_bytes());
            body.extend_from_slice(&config);
        }
        [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
    }

    #[test]
    fn reads_the_public_names_of_known_versions() {
        let list = list(&[(VERSION, "Cover.Example"), (0xfe0a, "old.example"), (VERSION, "two.example")]);
        assert_eq!(public_names(&list), ["cover.example", "two.example"]);
    }

    #[test]
    fn whatever_is_cut_off_is_skipped() {
        let list = list(&[(VERSION, "cover.example")]);
        for end in 0..list.len() {
            assert!(public_names(&list[..end]).is_empty(), "{end}");
        }
    }
}
