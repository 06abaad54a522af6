//! Hides the secrets that the environment holds or names. A server may repeat them in its answer,
//! and messages quote answers.

use std::path::Path;

use crate::environment::Environment;
use crate::{regular_file, sanitize};

/// Variables that hold secrets.
const VARIABLES: [&str; 10] = [
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "INPUT_GITHUB-TOKEN",
    "INPUT_GITHUB_TOKEN",
];
/// Variables that name a file with a secret.
const FILES: [&str; 2] = ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"];
/// The largest accepted token file, in bytes. A token has a few kilobytes.
const MAX_TOKEN: usize = 64 << 10;

/// Hides the secrets of the environment in all later output.
pub fn hide(environment: &Environment) {
    VARIABLES.iter().filter_map(|name| environment.get(name)).for_each(sanitize::hide);
    for path in FILES.iter().filter_map(|name| environment.get(name)) {
        // The code that needs this token reports a file that cannot be read.
        if let Ok(token) = regular_file::read("token", Path::new(path), MAX_TOKEN) {
            sanitize::hide(&String::from_utf8_lossy(&token));
        }
    }
    let is_proxy = |name: &str| name.to_ascii_uppercase().ends_with("_PROXY");
    let proxies = environment.iter().filter(|(name, _)| is_proxy(name));
    proxies.flat_map(|(_, url)| credentials(url)).for_each(|secret| sanitize::hide(&secret));
}

/// Returns the credentials of a proxy's URL that the proxy may repeat, escaped and decoded.
///
/// They are the password, and the pair of name and password. The pair also hides its Base64 form,
/// even if the password alone is too short to hide.
fn credentials(url: &str) -> Vec<String> {
    let Some((before, _)) = url.rsplit_once('@') else { return Vec::new() };
    let both = before.split_once("://").map_or(before, |(_, both)| both);
    let secret = match both.split_once(':') {
        Some((name, "")) => name,
        Some((_, password)) => password,
        None => both,
    };
    [both, secret].iter().flat_map(|text| [(*text).to_owned(), decoded(text)]).collect()
}

/// Returns the text without its percent-escapes.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = if *byte == b'%' { after.get(..2) } else { None };
        let escaped = digits.and_then(|digits| hex::decode(digits).ok());
        rest = if escaped.is_some() { &after[2..] } else { after };
        bytes.extend(escaped.unwrap_or_else(|| vec![*byte]));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_however_a_proxy_is_spelt() {
        for (url, wanted) in [
            (
                "http://user:p%40ss%2fw@proxy:8080/",
                ["user:p%40ss%2fw", "user:p@ss/w", "p%40ss%2fw", "p@ss/w"],
            ),
            ("user:p:a@b%zz@proxy", ["user:p:a@b%zz", "user:p:a@b%zz", "p:a@b%zz", "p:a@b%zz"]),
            ("https://token:@proxy", ["token:", "token:", "token", "token"]),
            ("https://token@proxy", ["token", "token", "token", "token"]),
        ] {
            assert_eq!(credentials(url), wanted, "{url}");
        }
        assert_eq!(credentials("http://proxy:8080"), [] as [String; 0]);
    }
}
