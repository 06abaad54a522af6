//! Secrets that must not get out, in every form in which they could.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Secrets, each with a name for messages.
#[derive(Debug, Default)]
pub struct Canaries(Vec<(String, String)>);

impl Canaries {
    pub fn add(&mut self, name: &str, value: &str) {
        assert!(value.len() >= 12, "`{value}` may stand somewhere by chance");
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Demands that the text has no secret in any form.
    #[track_caller]
    pub fn are_not_in(&self, place: &str, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        for (name, value) in &self.0 {
            for form in forms(value) {
                assert!(!text.contains(&form), "{name}, as `{form}`, is in {place}:\n{text}");
            }
        }
    }
}

/// Returns the forms of a secret: plain, escaped for URLs and JSON, in hex, and in Base64 at each
/// offset.
fn forms(secret: &str) -> BTreeSet<String> {
    let escaped = |keep: fn(u8) -> bool| -> String {
        let escape = |byte: u8| {
            if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        secret.bytes().map(escape).collect()
    };
    let json = serde_json::to_string(secret).unwrap();
    let json = json.trim_matches('"').to_owned();
    let strict = escaped(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let mut forms = BTreeSet::from([
        secret.to_owned(),
        strict.to_lowercase(),
        escaped(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte)),
        strict,
        json.replace('/', "\\/"),
        json,
        hex::encode(secret),
        hex::encode_upper(secret),
    ]);
    for before in 0..3_usize {
        let bytes = [&b"\0\0"[..before], secret.as_bytes()].concat();
        // The first and last digits also depend on the neighbouring bytes, so they are cut off.
        let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.insert(STANDARD_NO_PAD.encode(&bytes)[start..end].to_owned());
        forms.insert(URL_SAFE_NO_PAD.encode(&bytes)[start..end].to_owned());
    }
    forms
}

#[test]
fn a_canary_is_found_however_it_is_written() {
    let mut canaries = Canaries::default();
    canaries.add("token", "a+b/c\"d=canary-6Zq0");
    for text in [
        "Bearer a+b/c\"d=canary-6Zq0.",
        "?sig=a%2Bb%2Fc%22d%3Dcanary-6Zq0&x",
        r#"{"token":"a+b/c\"d=canary-6Zq0"}"#,
        &STANDARD_NO_PAD.encode("a+b/c\"d=canary-6Zq0"),
        &STANDARD_NO_PAD.encode("x:a+b/c\"d=canary-6Zq0!"),
        &URL_SAFE_NO_PAD.encode("user:a+b/c\"d=canary-6Zq0, and more"),
        &hex::encode("a+b/c\"d=canary-6Zq0"),
    ] {
        assert!(
            std::panic::catch_unwind(|| canaries.are_not_in("a text", text.as_bytes())).is_err(),
            "{text}"
        );
    }
    canaries.are_not_in("a text", b"a+b/c canary-6Zq0");
}
