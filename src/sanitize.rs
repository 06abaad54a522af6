//! The one sanitizer for text that comes from elsewhere: file names, branch names, server answers.
//!
//! A log line that starts with `::`, or has `##[` anywhere, is a command to the GitHub runner;
//! control and bidirectional characters can rewrite what a person sees. A server may also repeat in
//! its answer what it was sent, so the secrets of this process are taken out of every text.

use std::sync::{PoisonError, RwLock};

/// What is taken out of every text.
static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());
/// Shorter text is no secret, and may stand anywhere by chance.
const MIN_SECRET: usize = 8;

/// Takes a secret out of every text from now on.
pub fn hide(secret: &str) {
    let secret = secret.trim();
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if secret.len() >= MIN_SECRET && !secrets.iter().any(|known| known == secret) {
        secrets.push(secret.to_owned());
        // One that holds another goes first.
        secrets.sort_by_key(|known| std::cmp::Reverse(known.len()));
    }
}

fn without_secrets(text: &str) -> String {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
}

/// Returns the text on one line, with nothing in it that a runner or a terminal would obey.
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

/// Returns text of several lines, each made safe.
pub fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the text for a cell of a Markdown table: safe, on one line, with no markup in it and
/// nothing that GitHub makes a link, a mention or a reference of.
pub fn markdown(text: &str) -> String {
    let text = line(text);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '&' => clean.push_str("&amp;"),
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '@' => clean.push_str(&format!("&#{};", c as u32)),
            ':' if rest.peek().is_some_and(|next| matches!(next, '/' | ':')) => clean.push_str("&#58;"),
            c => clean.push(c),
        }
    }
    clean
}

/// Breaks the two ways in which a line becomes a workflow command.
fn disarm(line: &str) -> String {
    let broken = line.replace("##[", "##\u{200b}[");
    match broken.trim_start().starts_with("::") {
        true => format!("\u{200b}{broken}"),
        false => broken,
    }
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
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
    fn commands_and_control_characters_are_disarmed() {
        assert_eq!(line("a\nb\r\u{1b}[31m"), "a\\nb\\r\\u{1b}[31m");
        assert_eq!(line("::set-output name=x::y"), "\u{200b}::set-output name=x::y");
        assert_eq!(line("  ::warning::x"), "\u{200b}  ::warning::x");
        assert_eq!(line("x ##[set-output name=a]b"), "x ##\u{200b}[set-output name=a]b");
        assert_eq!(line("safe\u{202e}txt"), "safe\\u{202e}txt");
        assert_eq!(lines("a\n::b::"), "a\n\u{200b}::b::");
    }

    #[test]
    fn markdown_cells_hold_no_markup() {
        let cell = markdown("<img src=x> | [a](http://b) `c`\n@org/team");
        for bad in ["<", "|", "[", "`", "\n", "@", "http:"] {
            assert!(!cell.contains(bad), "{bad} in {cell}");
        }
    }
}
