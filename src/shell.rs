//! Words for a shell that a person pastes a command into.

/// Returns a word for a shell. A name from outside may hold text that a shell would run.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_each_value_for_a_word() {
        for (word, wanted) in [
            ("s3://ml-models/cache", "s3://ml-models/cache"),
            ("refused:pr/7/0123", "refused:pr/7/0123"),
            ("my model", "'my model'"),
            ("branch/$(id)`id`;id", "'branch/$(id)`id`;id'"),
            ("it's", r"'it'\''s'"),
            ("a\nb", "'a\nb'"),
            ("~x", "'~x'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), wanted);
            let echo = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output();
            assert_eq!(echo.unwrap().stdout, word.as_bytes());
        }
    }
}
