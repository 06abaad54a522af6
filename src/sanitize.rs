//! The only sanitizer for foreign text: file names, branch names, server answers.
//!
//! GitHub's runner obeys a log line that starts with `::` or contains `##[`. Control and
//! bidirectional characters can change the text that a person sees. A server may also repeat a
//! request in its answer. So the sanitizer also removes the secrets of this process.

use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The secrets to remove, in all their forms.
static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());
/// The shortest text that counts as a secret, in bytes. A shorter text may occur anywhere by
/// chance.
const MIN_SECRET: usize = 8;
/// The longest message of a server, in characters. A proxy may answer with whole pages.
const MAX_MESSAGE: usize = 500;

/// Removes a secret from all later text.
pub fn hide(secret: &str) {
    let secret = secret.trim();
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if secret.len() >= MIN_SECRET && !secrets.iter().any(|known| known == secret) {
        secrets.extend(forms(secret));
        // The longest form goes first, because it may contain another form.
        secrets.sort_by_key(|known| std::cmp::Reverse(known.len()));
    }
}

/// Returns the forms in which a server may repeat a secret: plain, escaped for a URL or for JSON,
/// and in Base64.
///
/// The Base64 form depends on the secret's position in the encoded text.
fn forms(secret: &str) -> Vec<String> {
    let escaped = |plain: &[u8], escape: fn(u8) -> String| -> String {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || plain.contains(&byte);
        secret
            .bytes()
            .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { escape(byte) })
            .collect()
    };
    let json = secret.replace('\\', r"\\").replace('"', r#"\""#);
    let mut forms = vec![secret.to_owned(), json.replace('/', r"\/"), json];
    // A path keeps its slashes, and so do some queries.
    for plain in [&b"-._~"[..], b"-._~/"] {
        forms.push(escaped(plain, |byte| format!("%{byte:02X}")));
        forms.push(escaped(plain, |byte| format!("%{byte:02x}")));
    }
    for before in 0..3 {
        let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
        // The digits at both ends may contain bits of the neighbouring text.
        let own = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        forms.extend(
            [STANDARD_NO_PAD, URL_SAFE_NO_PAD]
                .map(|code| code.encode(&bytes)[own.clone()].to_owned()),
        );
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn without_secrets(text: &str) -> String {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
}

/// Returns the text on one line, without anything that a runner or a terminal would obey.
pub fn line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in without_secrets(text).chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            c if is_invisible(c) => clean.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => clean.push(c),
        }
    }
    disarm(&clean)
}

/// Returns a server's message on one line, sanitized and cut.
pub fn message(text: &str) -> String {
    short(text, MAX_MESSAGE)
}

/// Returns the text on one line, sanitized and then cut to `most` characters. A cut secret would no
/// longer be recognised.
pub fn short(text: &str, most: usize) -> String {
    let clean = line(text);
    match clean.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// Returns an address without credentials, even if the address is malformed.
///
/// Any text before an `@` may be a credential, and so may query and fragment.
pub fn address(text: &str) -> String {
    let is_scheme = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (&text[..scheme.len() + 3], rest),
        _ => ("", text),
    };
    let host = rest.rfind('@').map(|at| at + 1).max(rest.rfind("%40").map(|at| at + 3));
    let shown = match (host, rest.find(['?', '#'])) {
        (None, None) => rest.to_owned(),
        (None, Some(query)) => format!("{}***", &rest[..=query]),
        (Some(host), None) => format!("***@{}", &rest[host..]),
        (Some(host), Some(query)) if host <= query => format!("***@{}***", &rest[host..=query]),
        // A password may contain a `?`, and a query may contain an `@`. So the whole rest stays
        // hidden.
        _ => "***".to_owned(),
    };
    format!("{scheme}{shown}")
}

/// Returns a text of several lines, each line sanitized.
pub fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the text for a cell of a Markdown table: on one line, without markup and without
/// automatic links.
///
/// A zero-width space follows each `@`. Otherwise an address of mail or XMPP would become a link,
/// although the `@` is escaped. GitHub may still turn numbers such as `GH-12` and commits into
/// links, but these lead to no other site.
pub fn markdown(text: &str) -> String {
    let text = line(text);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '&' => clean.push_str("&amp;"),
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                clean.push_str(&format!("&#{};", c as u32))
            }
            '@' => clean.push_str("&#64;\u{200b}"),
            '.' if is_www(&clean) => clean.push_str("&#46;"),
            ':' if rest.peek().is_some_and(|next| matches!(next, '/' | ':')) => {
                clean.push_str("&#58;")
            }
            c => clean.push(c),
        }
    }
    clean
}

/// Returns the same JSON without anything that a runner or a terminal would obey.
pub fn json(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    // `##[` and invisible characters occur only in strings, where JSON allows escapes.
    for c in text.replace("##[", "#\\u0023[").chars() {
        match is_invisible(c) {
            true => clean
                .extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
            false => clean.push(c),
        }
    }
    clean
}

fn is_www(text: &str) -> bool {
    text.len()
        .checked_sub(3)
        .and_then(|at| text.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case("www"))
}

/// Breaks the two forms of a workflow command.
fn disarm(line: &str) -> String {
    let broken = line.replace("##[", "##\u{200b}[");
    match broken.trim_start().starts_with("::") {
        true => format!("\u{200b}{broken}"),
        false => broken,
    }
}

/// Returns whether a character is invisible or changes the direction of other characters.
///
/// Variation selectors count, although some emoji have them. An escaped name is odd, but two
/// different names never look the same.
fn is_invisible(c: char) -> bool {
    const LETTERS: [char; 8] = [
        '\u{ad}', '\u{34f}', '\u{61c}', '\u{115f}', '\u{1160}', '\u{180e}', '\u{3164}', '\u{ffa0}',
    ];
    c.is_control()
        || LETTERS.contains(&c)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out() {
        for secret in ["s3cret-of-the-test", " s3cret-of-the-test-and-more\n", "ml", ""] {
            hide(secret);
        }
        assert_eq!(line("(s3cret-of-the-test-and-more, s3cret-of-the-test) ml"), "(***, ***) ml");
        assert_eq!(markdown("s3cret-of-the-test"), "&#42;&#42;&#42;");
    }

    #[test]
    fn secrets_are_taken_out_in_other_spellings() {
        hide("s3cret+of/the?test>");
        for text in [
            "s3cret%2Bof%2Fthe%3Ftest%3E",
            "s3cret%2bof%2fthe%3ftest%3e",
            "s3cret%2Bof/the%3Ftest%3E",
            "s3cret%2bof/the%3ftest%3e",
            r"s3cret+of\/the?test>",
            &STANDARD_NO_PAD.encode("s3cret+of/the?test>"),
            &STANDARD_NO_PAD.encode("x:s3cret+of/the?test>!"),
            &URL_SAFE_NO_PAD.encode("user:s3cret+of/the?test>, and more"),
            &URL_SAFE_NO_PAD.encode("user-1:s3cret+of/the?test>"),
        ] {
            let clean = line(&format!("({text})"));
            assert!(clean.contains("***") && clean.len() < text.len(), "{text}: {clean}");
        }
        assert_eq!(line("s3cret of the test"), "s3cret of the test");
        hide(r#"quoted"of/the\test"#);
        assert_eq!(
            line(r#"{"a":"quoted\"of/the\\test","b":"quoted\"of\/the\\test"}"#),
            r#"{"a":"***","b":"***"}"#
        );
    }

    #[test]
    fn commands_and_control_characters_are_disarmed() {
        assert_eq!(line("a\nb\r\u{1b}[31m"), "a\\nb\\r\\u{1b}[31m");
        assert_eq!(line("::set-output name=x::y"), "\u{200b}::set-output name=x::y");
        assert_eq!(line("  ::warning::x"), "\u{200b}  ::warning::x");
        assert_eq!(line("x ##[set-output name=a]b"), "x ##\u{200b}[set-output name=a]b");
        assert_eq!(line("safe\u{202e}txt"), "safe\\u{202e}txt");
        assert_eq!(lines("a\n::b::"), "a\n\u{200b}::b::");
    }

    #[test]
    fn a_secret_is_taken_out_before_a_text_is_cut() {
        hide("s3cret-at-the-end");
        assert_eq!(short("abc s3cret-at-the-end", 8), "abc ***");
        assert_eq!(short("abc s3cret-at-the-end", 5), "abc *…");
        assert_eq!(
            message(&format!("{}s3cret-at-the-end", "é".repeat(495))),
            format!("{}***", "é".repeat(495))
        );
        assert_eq!(message(&"é".repeat(501)), format!("{}…", "é".repeat(500)));
    }

    #[test]
    fn addresses_are_shown_without_credentials() {
        for (text, shown) in [
            ("https://host:9000/path", "https://host:9000/path"),
            ("https://user:PW@host/path", "https://***@host/path"),
            ("https://user:P@W@host", "https://***@host"),
            ("user:PW@host:9000", "***@host:9000"),
            ("//user:PW@host", "***@host"),
            ("http:/user:PW@host", "***@host"),
            ("user:PW@http://host", "***@http://host"),
            ("http://user%3APW%40host", "http://***@host"),
            ("http://host/?token=PW", "http://host/?***"),
            ("host#token=PW", "host#***"),
            ("http://user:PW@host/?token=PW#PW", "http://***@host/?***"),
            ("http://user:P?W@host", "http://***"),
            ("http://host/?mail=a@b&token=PW", "http://***"),
        ] {
            assert_eq!(address(text), shown, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        for code in [
            0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x180e, 0x200b, 0x202e, 0x2066, 0x3164, 0xfe00,
            0xfe0f, 0xfeff, 0xffa0, 0xe0001, 0xe0041, 0xe007f,
        ] {
            let c = char::from_u32(code).unwrap();
            assert_eq!(line(&format!("a{c}b")), format!("a\\u{{{code:x}}}b"));
        }
        assert_eq!(line("Größe 模型 한글 ✔"), "Größe 模型 한글 ✔");
    }

    #[test]
    fn json_stays_the_same() {
        let value = serde_json::json!(["###[x]", "\\##[y]", "a\u{202e}\u{7f}\u{85}\n\u{e0041}é"]);
        let shown = json(&value.to_string());
        assert!(!shown.contains("##[") && !shown.chars().any(is_invisible), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn markdown_cells_hold_no_markup() {
        let cell =
            markdown("<img src=x> | [a](http://b) `c`\n@org/team www.d.example Www.e.example");
        for bad in ["<", "|", "[", "`", "\n", "@", "http:", "www.", "Www."] {
            assert!(!cell.contains(bad), "{bad} in {cell}");
        }
        assert_eq!(markdown("xmpp:a@b.example/x"), "xmpp:a&#64;\u{200b}b.example/x");
    }
}
